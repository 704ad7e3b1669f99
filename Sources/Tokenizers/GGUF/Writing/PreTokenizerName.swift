internal import EspalierBasics

/// Finds the name under which llama.cpp cuts text as the pre-tokenizer of a `tokenizer.json` does.
///
/// The expressions, one after the other, are compared as trees: with those that llama.cpp has for a name, and with those
/// that the models of that name have in their own files, which it does not always follow to the letter.
enum PreTokenizerName {
  /// - Parameters:
  ///   - steps: of the whole pre-tokenizer, byte-level step included.
  ///   - ignoresMerges: as the model says; names that agree go first.
  ///   - cleansSpaces: `clean_up_tokenization_spaces`; names that agree go before others where the family does not decide.
  ///   - family: `model_type` of the model's configuration.
  /// - Throws: ``Problem/Code/tokenizerUnsupported`` if no name is known.
  static func name(
    of steps: [PreTokenizer], ignoresMerges: Bool, cleansSpaces: Bool?, family: String?
  ) throws(Problem) -> String {
    guard let expressions = try expressions(of: steps) else {
      throw unknown("it is no sequence of isolated splits before the byte level")
    }
    let wanted = family.flatMap { families[$0] }
    var best: (rank: [Int], name: String)?
    for (index, name) in try names(of: expressions).enumerated() {
      let known = try GGUFPreTokenizer.named(name)
      let rank = [
        known.ignoresMerges == ignoresMerges ? 0 : 1, name == wanted ? 0 : 1,
        cleansSpaces == nil || known.cleansSpaces == cleansSpaces ? 0 : 1,
        preferred.firstIndex(of: name) ?? preferred.count, index,
      ]
      if let best, !rank.lexicographicallyPrecedes(best.rank) { continue }
      best = (rank, name)
    }
    guard let best else { throw unknown("its expressions are those of no name") }
    return best.name
  }

  private static func unknown(_ reason: String) -> Problem {
    let known = Set(GGUFPreTokenizer.table.filter { $0.preTokenizer.spelling == .byteLevel }.flatMap(\.names))
    return Problem(
      .tokenizerUnsupported,
      "no name is known for the tokenizer's pre-tokenizer (\(reason)), and under another llama.cpp would cut text"
        + " otherwise",
      remedy: "If you know that one fits, give it. Known are \(known.sorted().joined(separator: ", ")).")
  }

  /// The expressions by which the steps isolate parts of a text; nil if they do anything else.
  private static func expressions(of steps: [PreTokenizer]) throws(Problem) -> [PatternNode]? {
    var expressions: [PatternNode] = []
    for step in steps {
      switch step {
      case .split(let pattern, .isolated, inverted: false): expressions.append(try pattern.tree())
      case .split(let pattern, .removed, inverted: true) where pattern.source.hasSuffix(#"|\s+"#):
        // What an expression that matches everything does not match is nothing.
        expressions.append(try pattern.tree())
      case .digits(let individual):
        expressions.append(try PatternParser.parse(individual ? #"\p{N}"# : #"\p{N}+"#))
      case .punctuation(.contiguous): expressions.append(try PatternParser.parse(punctuation))
      case .byteLevel(_, usesPattern: true): expressions.append(try PatternParser.parse(GGUFPreTokenizer.gpt2))
      case .byteLevel: break
      default: return nil
      }
    }
    return expressions
  }

  private static func names(of expressions: [PatternNode]) throws(Problem) -> [String] {
    var names: [String] = []
    for (known, preTokenizer) in GGUFPreTokenizer.table where preTokenizer.spelling == .byteLevel {
      if try trees(preTokenizer.patterns) == expressions { names += known }
    }
    for (known, patterns) in spellings where try trees(patterns) == expressions { names += known }
    return names
  }

  private static func trees(_ patterns: [String]) throws(Problem) -> [PatternNode] {
    var trees: [PatternNode] = []
    for pattern in patterns { trees.append(try PatternParser.parse(pattern)) }
    return trees
  }

  // MARK: What is known

  /// Of several names for the same expressions, these go first, in this order.
  private static let preferred = [
    "gpt-2", "llama-bpe", "qwen2", "smollm", "dbrx", "gpt-4o", "tekken", "deepseek-v3", "starcoder", "bloom",
  ]

  /// The names that llama.cpp's converter gives to families, where their expressions are those of several.
  private static let families = [
    "gpt2": "gpt-2", "olmo": "olmo", "olmo2": "dbrx", "mpt": "mpt", "phi": "phi-2", "roberta": "roberta-bpe",
    "modernbert": "modern-bert", "qwen2": "qwen2", "qwen2_moe": "qwen2", "qwen3": "qwen2", "qwen3_moe": "qwen2",
    "starcoder2": "starcoder", "cohere": "command-r", "cohere2": "command-r", "refact": "refact",
    "stablelm": "stablelm2", "exaone": "exaone", "exaone4": "exaone4", "llama4": "llama4", "llama4_text": "llama4",
    "gpt_oss": "gpt-4o", "glm4": "glm4", "dbrx": "dbrx", "jais": "jais", "falcon_h1": "falcon-h1",
  ]

  private static let punctuation = #"[\p{P}\$\+<=>\^~\|`]+"#

  private static let o200k =
    #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#
    + #"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#
    + #"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

  private static let eastAsian = #"[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+"#

  /// Expressions as the models have them, where llama.cpp writes others.
  private static let spellings: [(names: [String], patterns: [String])] = [
    (["gpt-4o", "llama4"], [o200k]),
    (
      ["tekken"],
      [
        #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"#
          + #"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"#
          + #"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
      ]
    ),
    (
      ["qwen35"],
      [
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"#
          + #"|\s*[\r\n]+|\s+(?!\S)|\s+"#
      ]
    ),
    (["falcon"], [punctuation, GGUFPreTokenizer.gpt2, #"\p{N}+"#, "[0-9][0-9][0-9]"]),
    (
      ["deepseek-llm"],
      [
        "[\r\n]", #"\s?["# + GGUFPreTokenizer.casedLetters + "]+",
        #"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+"#, #"\s+$"#, eastAsian,
        #"\p{N}"#,
      ]
    ),
    (["deepseek-coder"], ["[\r\n]", #"\s?\p{L}+"#, #"\s?\p{P}+"#, eastAsian, #"\p{N}"#]),
    (
      ["bloom", "gpt3-finnish", "poro-chat"],
      [#" ?[^(\s|[.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{0964}\x{06D4}\x{060C}])]+"#]
    ),
  ]
}
