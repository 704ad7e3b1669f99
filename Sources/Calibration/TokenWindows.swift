public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNumerics
public import EspalierTokenizers

extension Problem.Code {
  /// Calibration texts that do not do.
  public static let calibrationText = Problem.Code("calibration.text")
}

/// Texts cut into windows of tokens that a model is run on.
public struct TokenWindows: Sendable {
  public struct Text: Sendable {
    public var name: String
    public var text: String

    public init(name: String, text: String) {
      self.name = name
      self.text = text
    }
  }

  /// How windows are chosen among those there are.
  public enum Choice: Sendable, Hashable {
    case first
    /// Without repetition, every choice as likely as any other, in the order of the texts.
    case drawn(seed: UInt64)
  }

  public let sequences: [[Int32]]
  /// How they were cut and chosen, in words.
  public let cut: String
  public let texts: [StatisticsRecord.Text]

  public var tokenCount: Int { sequences.reduce(0) { $0 + $1.count } }

  /// Encodes texts without special tokens, joins them, and cuts windows that do not overlap; what is left is dropped.
  /// Where the tokenizer begins texts with a token, that token takes the place of each window's first.
  ///
  /// - Parameters:
  ///   - count: windows; nil for all there are, but no more than `limit`.
  ///   - length: tokens of a window, at least 1.
  /// - Throws: `calibration.text` if there are not so many; what encoding throws.
  public init(
    _ texts: [Text], tokenizer: Tokenizer, count: Int?, limit: Int = .max, length: Int, choice: Choice = .first
  ) throws(Problem) {
    var tokens: [Int32] = []
    for text in texts {
      do throws(Problem) { tokens += try tokenizer.ids(text.text, addSpecialTokens: false) } catch {
        throw error.at(file: text.name)
      }
    }
    let windows = length > 0 ? tokens.count / length : 0
    let wanted = count ?? min(windows, limit)
    guard wanted > 0, wanted <= windows else {
      throw Problem(
        .calibrationText,
        "the texts have \(tokens.count) tokens, which make \(windows) windows of \(length); "
          + (wanted > 0 ? "\(wanted) are asked for" : "there must be one"),
        remedy: windows > 0 ? "Give more text, or --sequences \(windows)." : "Give more text, or a shorter --length.")
    }
    var chosen = Array(0..<wanted)
    if case .drawn(let seed) = choice {
      var words = [UInt32](repeating: 0, count: windows)
      words.withUnsafeMutableBufferPointer { words in
        KeyedRandom(seed: seed, name: "calibration windows").words(
          startingAt: 0, into: words.baseAddress!, count: windows)
      }
      chosen = Array(words.indices.sorted { (words[$0], $0) < (words[$1], $1) }.prefix(wanted)).sorted()
    }
    let begin = try Self.beginToken(tokenizer)
    sequences = chosen.map { index in
      var window = Array(tokens[index * length..<(index + 1) * length])
      if let begin { window[0] = begin }
      return window
    }
    let which =
      switch choice {
      case .first: "the first \(wanted)"
      case .drawn(let seed): "\(wanted) drawn with seed \(seed)"
      }
    cut =
      "texts encoded without special tokens and joined; of \(windows) windows of \(length) tokens without overlap "
      + which + (begin == nil ? "; nothing added" : "; the first token of each replaced by the begin token")
    self.texts = texts.map { StatisticsRecord.Text(name: $0.name, digest: Digest(of: $0.text)) }
  }

  /// Windows that were cut elsewhere.
  ///
  /// - Parameter cut: how, in words.
  public init(tokens: [[Int32]], cut: String) {
    sequences = tokens
    self.cut = cut
    texts = []
  }

  /// What the tokenizer puts before a text.
  private static func beginToken(_ tokenizer: Tokenizer) throws(Problem) -> Int32? {
    let (plain, whole) = (try tokenizer.ids("a", addSpecialTokens: false), try tokenizer.ids("a"))
    return whole.count > plain.count && whole.first != plain.first ? whole.first : nil
  }

  /// A digest of the tokens and where they are cut.
  public static func digest(of sequences: [[Int32]]) -> Digest {
    var bytes: [UInt8] = []
    for sequence in sequences {
      withUnsafeBytes(of: UInt64(sequence.count).littleEndian) { bytes += $0 }
      for token in sequence { withUnsafeBytes(of: token.littleEndian) { bytes += $0 } }
    }
    return bytes.withUnsafeBytes { Digest(of: $0) }
  }
}
