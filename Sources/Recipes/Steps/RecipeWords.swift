internal import EspalierBasics

/// Remedies in the words of a recipe: the library's name options of the command line, of which a step has keys instead.
enum RecipeWords {
  /// Options with the keys that steps have for them. Others (`--memory`, `--force`, `--resume` ...) are `espalier run`'s
  /// own too.
  private static let keys: [String: String] = [
    "--allocate": "allocate", "--base": "base", "--bits": "bits", "--effect-text": "effect_text", "--format": "format",
    "--group": "group", "--imatrix": "imatrix", "--keep": "keep", "--length": "length", "--max-kl": "max_kl",
    "--method": "method", "--moment-width": "moment_width", "--objective": "objective", "--only": "only",
    "--parameters": "share", "--pattern": "pattern", "--rank": "rank", "--sequences": "sequences",
    "--set": "parameters",
    "--size": "size", "--sparsity": "sparsity", "--statistics": "statistics", "--store": "store", "--table": "table",
    "--tensor-type": "tensor_types", "--text": "text", "--type": "type", "--types": "types",
  ]
  /// Options whose value is written behind them where a remedy gives one.
  private static let valued: Set<String> = ["--format", "--objective", "--set", "--store"]

  /// The text with every such option as its key: ``--store dense`` is `store: dense`.
  ///
  /// What stands in backquotes is a command of its own, and stays.
  static func text(_ remedy: String) -> String {
    let parts = remedy.split(separator: "`", omittingEmptySubsequences: false)
    return parts.enumerated().map { $0 % 2 == 0 ? reworded($1) : String($1) }.joined(separator: "`")
  }

  private static func reworded(_ text: Substring) -> String {
    var words = text.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
    var index = 0
    while index < words.count {
      let (option, end) = cut(words[index])
      if let key = keys[option] {
        if end.isEmpty, valued.contains(option), index + 1 < words.count {
          let (value, end) = cut(words[index + 1])
          let written = option == "--set" ? "{\(value.replacing("=", with: ": "))}" : value
          words[index] = "`\(key): \(written)`\(end)"
          words.remove(at: index + 1)
        } else {
          words[index] = "`\(key)`\(end)"
        }
      }
      index += 1
    }
    return words.joined(separator: " ")
  }

  /// A word, and the marks behind it.
  private static func cut(_ word: String) -> (word: String, end: String) {
    let marks: Set<Character> = [",", ".", ";", ":", ")"]
    let end = word.reversed().prefix { marks.contains($0) }
    return (String(word.dropLast(end.count)), String(end.reversed()))
  }
}

extension Problem {
  /// The same problem of a step of a recipe.
  func inRecipeWords() -> Problem {
    var problem = self
    problem.remedy = remedy.map { RecipeWords.text($0) }
    return problem
  }
}
