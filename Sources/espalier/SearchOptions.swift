public import ArgumentParser
public import EspalierRecipes

extension MergeSearch.Score: ExpressibleByArgument {}
extension RecipeSearchStrategy: ExpressibleByArgument {}

/// Options of a search over what a recipe leaves open.
struct SearchOptions: ParsableArguments {
  @Flag(help: "Try the values that the recipe's `search:` names, and merge with the best.")
  var search = false

  @Option(
    help: ArgumentHelp(
      "Text that candidates are measured on: calibration text, not what will judge the result (repeatable).",
      valueName: "file"), completion: .file())
  var searchText: [String] = []

  @Option(
    help: """
      What a candidate loses on each text to the best of the recipe's models, in nats a token, counts by its mean or by \
      the worst text.
      """)
  var searchScore = MergeSearch.Score.mean

  @Option(help: "grid tries every combination, coordinate one value after the other until none helps.")
  var searchBy = RecipeSearchStrategy.grid

  @Option(help: "Candidates at most.")
  var searchBudget = 256

  @Option(help: "Tokens of a window.")
  var searchWindow = 256

  @Option(help: "Windows of each text at most.")
  var searchLimit = 32

  func validate() throws {
    if search, searchText.isEmpty { throw ValidationError("--search needs --search-text.") }
    if !search, !searchText.isEmpty { throw ValidationError("--search-text needs --search.") }
    if searchBudget < 1 { throw ValidationError("--search-budget must be at least 1.") }
    if searchWindow < 2 { throw ValidationError("--search-window must be at least 2.") }
    if searchLimit < 1 { throw ValidationError("--search-limit must be at least 1.") }
  }
}
