public import EspalierBasics

/// Byte-pair encoding (Sennrich et al., arXiv 1508.07909): a word begins as its characters, and of all neighbours
/// that can be merged, those with the earliest merge are joined, leftmost first, until none is left.
public struct BytePairModel: SubwordModel {
  public struct Options: Sendable, Hashable {
    /// What words are made of at first.
    public enum Alphabet: Sendable, Hashable {
      /// Characters of the text.
      case characters
      /// Bytes; tokens are written in the byte-level alphabet.
      case bytes
    }

    /// Stands for characters that are no token; without it they are left out.
    public var unknownToken: String?
    /// Written before every character but a word's first.
    public var continuingPrefix: String?
    /// Written after a word's last character.
    public var endSuffix: String?
    /// Neighbouring unknown characters become one token.
    public var fusesUnknown = false
    /// A character that is no token becomes the tokens `<0x00>` to `<0xFF>` of its bytes, if there are such.
    public var byteFallback = false
    /// A word that is a token is not looked into.
    public var ignoresMerges = false
    public var alphabet = Alphabet.characters

    public init() {}
  }

  public let tokens: TokenTable
  public let options: Options
  private let merges: MergeTable
  private let unknownID: Int32?
  /// Ids of single ASCII characters, or of all bytes; -1 where there is none.
  private let singles: [Int32]
  /// Tokens by what they stand for: themselves, or the bytes behind their characters.
  private let words: TokenTable
  private let fallback: [Int32]
  private let prefix: [UInt8]
  private let suffix: [UInt8]

  public var takesBytes: Bool { options.alphabet == .bytes }

  /// - Throws: ``Problem/Code/tokenizerMalformed`` if a merge joins or makes something that is no token, or bytes are
  ///   asked for together with options that work on characters.
  public init(tokens: TokenTable, merges: [(String, String)], options: Options = Options()) throws(Problem) {
    self.tokens = tokens
    self.options = options
    prefix = Array((options.continuingPrefix ?? "").utf8)
    suffix = Array((options.endSuffix ?? "").utf8)
    self.merges = try MergeTable(merges, tokens: tokens, prefixLength: prefix.count)
    unknownID = options.unknownToken.flatMap { tokens.id(of: $0) }
    fallback = options.byteFallback ? ByteFallbackTokens.ids(in: tokens) : []
    guard options.alphabet == .characters || Self.allowsBytes(options) else {
      throw Problem(.tokenizerMalformed, "a byte-level model cannot have a prefix, a suffix or byte fallback besides")
    }
    (words, singles) = Self.words(tokens, options.alphabet)
  }

  /// Tokens by what they stand for, and those of single characters.
  private static func words(_ tokens: TokenTable, _ alphabet: Options.Alphabet) -> (TokenTable, [Int32]) {
    switch alphabet {
    case .characters: return (tokens, (0..<128).map { tokens.id(of: [UInt8($0)]) ?? -1 })
    case .bytes:
      var entries: [(bytes: [UInt8], id: Int32)] = []
      for (text, id) in tokens.entries {
        if let bytes = ByteAlphabet.bytes(of: text) { entries.append((bytes, id)) }
      }
      let table = TokenTable(byteStrings: entries)
      return (table, (0..<256).map { table.id(of: [UInt8($0)]) ?? -1 })
    }
  }

  /// Whether these options mean the same for bytes as for the characters that stand for them.
  static func allowsBytes(_ options: Options) -> Bool {
    (options.continuingPrefix ?? "").isEmpty && (options.endSuffix ?? "").isEmpty && !options.byteFallback
  }

  /// The same model on bytes, if that means the same.
  var onBytes: BytePairModel? {
    guard Self.allowsBytes(options) else { return nil }
    return BytePairModel(self, alphabet: .bytes)
  }

  private init(_ other: BytePairModel, alphabet: Options.Alphabet) {
    tokens = other.tokens
    var options = other.options
    options.alphabet = alphabet
    self.options = options
    merges = other.merges
    unknownID = other.unknownID
    fallback = other.fallback
    prefix = other.prefix
    suffix = other.suffix
    (words, singles) = Self.words(other.tokens, alphabet)
  }

  public func tokenize(_ word: UnsafeBufferPointer<UInt8>, into tokens: inout [WordToken]) throws(Problem) {
    if options.ignoresMerges, let id = words.id(of: word) {
      tokens.append(WordToken(id: id, start: 0, end: word.count))
      return
    }
    var symbols = MergeTable.Symbols(capacity: word.count)
    try spell(word, into: &symbols)
    merges.merge(&symbols)
    symbols.write(into: &tokens)
  }

  /// The characters or bytes of a word as tokens.
  private func spell(_ word: UnsafeBufferPointer<UInt8>, into symbols: inout MergeTable.Symbols) throws(Problem) {
    // An unknown stretch waits here: whether it is fused is seen at the next character.
    var unknownLength = 0
    var position = 0
    let isPlain = prefix.isEmpty && suffix.isEmpty
    while position < word.count {
      let byte = word[position]
      let length = takesBytes ? 1 : min(UTF8Reading.length(byte), word.count - position)
      var id: Int32 = -1
      var spelling: [UInt8] = []
      if takesBytes {
        id = singles[Int(byte)]
      } else if isPlain {
        id =
          length == 1 && byte < 0x80
          ? singles[Int(byte)] : tokens.id(of: UnsafeBufferPointer(rebasing: word[position..<position + length])) ?? -1
      } else {
        if position > 0 { spelling += prefix }
        spelling += word[position..<position + length]
        if position + length == word.count { spelling += suffix }
        id = tokens.id(of: spelling) ?? -1
      }
      position += length
      if id >= 0 {
        if unknownLength > 0, let unknownID {
          symbols.append(unknownID, length: unknownLength)
          unknownLength = 0
        }
        symbols.append(id, length: length)
        continue
      }
      if !fallback.isEmpty {
        if isPlain { spelling = Array(word[position - length..<position]) }
        if spelling.allSatisfy({ fallback[Int($0)] >= 0 }) {
          for byte in spelling { symbols.append(fallback[Int(byte)], length: 1) }
          continue
        }
      }
      guard let token = options.unknownToken else { continue }
      guard let unknownID else {
        throw Problem(
          .tokenizerUnknown, "the unknown token \(quoted(ExactString(token))) is not in the vocabulary, and is needed")
      }
      if unknownLength > 0, !options.fusesUnknown {
        symbols.append(unknownID, length: unknownLength)
        unknownLength = 0
      }
      unknownLength += length
    }
    if unknownLength > 0, let unknownID { symbols.append(unknownID, length: unknownLength) }
  }
}

/// The tokens `<0x00>` to `<0xFF>`.
enum ByteFallbackTokens {
  /// Their ids, -1 where one is missing; empty if none is there.
  static func ids(in tokens: TokenTable) -> [Int32] {
    let ids = (0..<256).map { tokens.id(of: name(UInt8($0))) ?? -1 }
    return ids.allSatisfy { $0 < 0 } ? [] : ids
  }

  private static let digits = Array("0123456789ABCDEF".utf8)

  static func name(_ byte: UInt8) -> [UInt8] {
    [0x3C, 0x30, 0x78, digits[Int(byte >> 4)], digits[Int(byte & 15)], 0x3E]
  }

  /// The byte that a token names; hexadecimal digits of either case, after a sign too, as the reference reads them.
  static func byte(_ token: [UInt8]) -> UInt8? {
    guard token.count == 6, token.starts(with: [0x3C, 0x30, 0x78]), token[5] == 0x3E else { return nil }
    func digit(_ byte: UInt8) -> UInt8? {
      switch byte {
      case 0x30...0x39: byte - 0x30
      case 0x41...0x46: byte - 0x37
      case 0x61...0x66: byte - 0x57
      default: nil
      }
    }
    guard let low = digit(token[4]) else { return nil }
    if token[3] == UInt8(ascii: "+") { return low }
    return digit(token[3]).map { $0 << 4 | low }
  }
}
