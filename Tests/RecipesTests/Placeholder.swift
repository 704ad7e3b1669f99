// Removed when the first test comes.
