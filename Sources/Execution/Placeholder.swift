// Removed when the first code comes.
