internal import EspalierBasics

/// Turns tokens back into text.
public indirect enum Decoder: Sendable {
  /// Characters of the byte-level alphabet become bytes.
  case byteLevel
  /// Tokens without the prefix begin words; `cleansUp` takes spaces before punctuation away.
  case wordPiece(prefix: String, cleansUp: Bool)
  /// The replacement becomes a space, but for the first token's if one was put in front.
  case metaspace(replacement: Unicode.Scalar, prepend: MetaspacePrepend)
  /// The suffix becomes a space, in the last token nothing.
  case bytePair(suffix: String)
  /// `<0x..>` tokens become bytes.
  case byteFallback
  /// All tokens become one.
  case fuse
  /// At most so many of a character are taken from the ends of every token.
  case strip(Unicode.Scalar, start: Int, stop: Int)
  case replace(Pattern, String)
  /// Repeated tokens are one, padding goes away, a delimiter becomes a space.
  case ctc(padding: String, delimiter: String, cleansUp: Bool)
  /// Pieces are joined as they are, but for a space before the first, and spaces before punctuation if they are to be
  /// cleaned away: the decoding of GGUF vocabularies.
  case pieces(stripsFirstSpace: Bool, cleansSpaces: Bool)
  case sequence([Decoder])

  /// Decoders of nested sequences, one after the other.
  var steps: [Decoder] {
    if case .sequence(let parts) = self { return parts.flatMap(\.steps) }
    return [self]
  }
}

/// Tokens on their way through decoders, as bytes of UTF-8.
typealias TokenText = [UInt8]

/// One decoder at work. Tokens come in one by one, and go out as soon as no later token can change them.
protocol DecodingStage: Sendable {
  /// Takes the next token; what can be said for certain is appended to `output`.
  mutating func take(_ token: TokenText, _ output: inout [TokenText]) throws(Problem)
  /// There are no more tokens.
  mutating func finish(_ output: inout [TokenText]) throws(Problem)
}

extension DecodingStage {
  mutating func finish(_ output: inout [TokenText]) throws(Problem) {}
}

/// A chain of decoders at work.
struct DecodingChain: Sendable {
  private var stages: [any DecodingStage] = []
  /// Without a decoder, tokens are joined with spaces.
  private let joinsWithSpaces: Bool
  private var isFirst = true

  init(_ decoder: Decoder?) {
    joinsWithSpaces = decoder == nil
    // Behind a stage that makes one token of all, tokens are parts of that one.
    var isFused = false
    for step in decoder?.steps ?? [] {
      stages.append(step.stage(isFused: isFused))
      switch step {
      case .fuse, .byteLevel: isFused = true
      default: break
      }
    }
  }

  mutating func take(_ token: TokenText, _ output: inout TokenText) throws(Problem) {
    try pass([token], from: 0, &output)
  }

  mutating func finish(_ output: inout TokenText) throws(Problem) {
    for index in stages.indices {
      var tokens: [TokenText] = []
      try stages[index].finish(&tokens)
      try pass(tokens, from: index + 1, &output)
    }
  }

  private mutating func pass(_ tokens: [TokenText], from first: Int, _ output: inout TokenText) throws(Problem) {
    var tokens = tokens
    for index in stages.indices.dropFirst(first) {
      var next: [TokenText] = []
      for token in tokens { try stages[index].take(token, &next) }
      tokens = next
    }
    for token in tokens {
      if joinsWithSpaces, !isFirst { output.append(0x20) }
      isFirst = false
      output += token
    }
  }
}

extension Decoder {
  fileprivate func stage(isFused: Bool) -> any DecodingStage {
    switch self {
    // A sequence is taken apart before.
    case .fuse, .sequence: return FuseStage()
    case .pieces(let stripsFirstSpace, let cleansSpaces):
      return PieceStage(stripsFirstSpace: stripsFirstSpace, cleansSpaces: cleansSpaces)
    case .byteLevel: return isFused ? WholeStage(ByteLevelStage()) : ByteLevelStage()
    case .metaspace(let replacement, let prepend):
      return MetaspaceStage(replacement: replacement.value, dropsFirst: prepend != .never, staysFirst: isFused)
    case .replace(let pattern, let content):
      let stage = ReplaceStage(pattern: pattern, content: Array(content.utf8))
      return isFused && !pattern.isSingleScalar ? WholeStage(stage) : stage
    case .strip(let character, let start, let stop):
      let stage = StripStage(character: Array(String(character).utf8), start: start, stop: stop)
      return isFused ? FusedStripStage(stage) : stage
    case .wordPiece(let prefix, let cleansUp):
      let stage = WordPieceStage(prefix: Array(prefix.utf8), cleansUp: cleansUp)
      return isFused ? WholeStage(stage) : stage
    case .bytePair(let suffix):
      let stage = BytePairStage(suffix: Array(suffix.utf8))
      return isFused ? WholeStage(stage) : stage
    case .byteFallback: return isFused ? WholeStage(ByteFallbackStage()) : ByteFallbackStage()
    case .ctc(let padding, let delimiter, let cleansUp):
      let stage = CTCStage(padding: Array(padding.utf8), delimiter: Array(delimiter.utf8), cleansUp: cleansUp)
      return isFused ? WholeStage(stage) : stage
    }
  }
}

/// Gathers the parts of one token for a stage that must see it whole.
private struct WholeStage<Stage: DecodingStage>: DecodingStage {
  private var stage: Stage
  private var token: TokenText = []
  private var hasToken = false

  init(_ stage: Stage) { self.stage = stage }

  mutating func take(_ token: TokenText, _ output: inout [TokenText]) {
    self.token += token
    hasToken = true
  }

  mutating func finish(_ output: inout [TokenText]) throws(Problem) {
    if hasToken { try stage.take(token, &output) }
    try stage.finish(&output)
  }
}
