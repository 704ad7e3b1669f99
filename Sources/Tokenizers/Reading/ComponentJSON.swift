public import EspalierBasics

extension Normalizer {
  /// Reads a `normalizer` of `tokenizer.json`.
  public init(json: JSON) throws(Problem) {
    let reader = try ComponentReader(json, role: "normalizer")
    switch reader.type {
    case "Sequence":
      var parts: [Normalizer] = []
      for part in try reader.list("normalizers") { parts.append(try Normalizer(json: part)) }
      self = .sequence(parts)
    case "BertNormalizer", "Bert":
      let lowercases = try reader.flag("lowercase", default: true)
      self = .bert(
        BertCleaning(
          cleansText: try reader.flag("clean_text", default: true),
          isolatesChinese: try reader.flag("handle_chinese_chars", default: true),
          stripsAccents: try reader.flag("strip_accents", default: lowercases), lowercases: lowercases))
    case "Strip":
      self = .strip(
        left: try reader.flag("strip_left", default: true), right: try reader.flag("strip_right", default: true))
    case "StripAccents": self = .stripAccents
    case "NFC": self = .nfc
    case "NFD": self = .nfd
    case "NFKC": self = .nfkc
    case "NFKD": self = .nfkd
    case "Lowercase": self = .lowercase
    case "Nmt": self = .nmt
    case "Precompiled":
      guard let bytes = Base64.decode(try reader.text("precompiled_charsmap").utf8) else {
        throw Problem(.tokenizerMalformed, "`precompiled_charsmap` of the normalizer Precompiled is no base64")
      }
      self = .precompiled(try CharacterMap(bytes: bytes))
    case "Replace":
      guard let pattern = json["pattern"] else { throw reader.malformed("pattern") }
      self = .replace(try Pattern(json: pattern), try reader.text("content"))
    case "Prepend": self = .prepend(try reader.text("prepend"))
    case "ByteLevel": self = .byteLevel
    default: throw reader.unsupported
    }
  }
}

extension PreTokenizer {
  /// Reads a `pre_tokenizer` of `tokenizer.json`.
  public init(json: JSON) throws(Problem) {
    let reader = try ComponentReader(json, role: "pre-tokenizer")
    switch reader.type {
    case "Sequence":
      var parts: [PreTokenizer] = []
      for part in try reader.list("pretokenizers") { parts.append(try PreTokenizer(json: part)) }
      self = .sequence(parts)
    case "BertPreTokenizer": self = .bert
    case "ByteLevel":
      self = .byteLevel(
        addPrefixSpace: try reader.flag("add_prefix_space", default: true),
        usesPattern: try reader.flag("use_regex", default: true))
    case "CharDelimiterSplit", "Delimiter": self = .delimiter(try reader.scalar("delimiter"))
    case "Metaspace":
      let metaspace = try MetaspaceReader.read(reader)
      self = .metaspace(
        replacement: metaspace.replacement, prepend: metaspace.prepend, splits: try reader.flag("split", default: true))
    case "Whitespace": self = .whitespace
    case "WhitespaceSplit": self = .whitespaceSplit
    case "Punctuation": self = .punctuation(try Self.behavior(reader, default: .isolated))
    case "Digits": self = .digits(individual: try reader.flag("individual_digits", default: false))
    case "Split":
      guard let pattern = json["pattern"] else { throw reader.malformed("pattern") }
      self = .split(
        try Pattern(json: pattern), try Self.behavior(reader, default: nil),
        inverted: try reader.flag("invert", default: false))
    case "UnicodeScripts": self = .scripts
    case "FixedLength":
      let length = try reader.count("length", default: 5)
      guard length > 0 else { throw reader.malformed("length") }
      self = .fixedLength(length)
    default: throw reader.unsupported
    }
  }

  private static func behavior(_ reader: ComponentReader, default standard: SplitBehavior?) throws(Problem)
    -> SplitBehavior
  {
    guard let behavior = SplitBehavior(rawValue: try reader.text("behavior", default: standard?.rawValue)) else {
      throw reader.malformed("behavior")
    }
    return behavior
  }
}

/// Metaspaces are pre-tokenizers and decoders.
private enum MetaspaceReader {
  static func read(
    _ reader: ComponentReader
  ) throws(Problem) -> (replacement: Unicode.Scalar, prepend: MetaspacePrepend) {
    guard var prepend = MetaspacePrepend(rawValue: try reader.text("prepend_scheme", default: "always")) else {
      throw reader.malformed("prepend_scheme")
    }
    // The old spelling, from before there were schemes.
    if try !reader.flag("add_prefix_space", default: true) { prepend = .never }
    return (try reader.scalar("replacement"), prepend)
  }
}

extension Decoder {
  /// Reads a `decoder` of `tokenizer.json`.
  public init(json: JSON) throws(Problem) {
    let reader = try ComponentReader(json, role: "decoder")
    switch reader.type {
    case "Sequence":
      var parts: [Decoder] = []
      for part in try reader.list("decoders") { parts.append(try Decoder(json: part)) }
      self = .sequence(parts)
    case "ByteLevel": self = .byteLevel
    case "WordPiece":
      self = .wordPiece(
        prefix: try reader.text("prefix", default: "##"), cleansUp: try reader.flag("cleanup", default: true))
    case "Metaspace":
      let metaspace = try MetaspaceReader.read(reader)
      self = .metaspace(replacement: metaspace.replacement, prepend: metaspace.prepend)
    case "BPEDecoder": self = .bytePair(suffix: try reader.text("suffix", default: "</w>"))
    case "ByteFallback": self = .byteFallback
    case "Fuse": self = .fuse
    case "Strip":
      self = .strip(
        try reader.scalar("content"), start: try reader.count("start", default: 0),
        stop: try reader.count("stop", default: 0))
    case "Replace":
      guard let pattern = json["pattern"] else { throw reader.malformed("pattern") }
      self = .replace(try Pattern(json: pattern), try reader.text("content"))
    case "CTC":
      self = .ctc(
        padding: try reader.text("pad_token", default: "<pad>"),
        delimiter: try reader.text("word_delimiter_token", default: "|"),
        cleansUp: try reader.flag("cleanup", default: true))
    default: throw reader.unsupported
    }
  }
}

extension Truncation {
  init(json: JSON) throws(Problem) {
    func choice<T: RawRepresentable>(_ key: String, _ standard: T) throws(Problem) -> T where T.RawValue == String {
      guard let value = json[key], !value.isNull else { return standard }
      guard let choice = value.string.flatMap(T.init(rawValue:)) else { throw Self.malformed(key, value) }
      return choice
    }
    guard let length = json["max_length"]?.integer, length >= 0 else {
      throw Self.malformed("max_length", json["max_length"] ?? .null)
    }
    let stride = json["stride"]?.integer ?? 0
    guard stride >= 0 else { throw Self.malformed("stride", .number(stride)) }
    self.init(
      maximumLength: length, stride: stride, strategy: try choice("strategy", .longestFirst),
      direction: try choice("direction", .right))
  }

  private static func malformed(_ key: String, _ value: JSON) -> Problem {
    Problem(.tokenizerMalformed, "`\(key)` of the truncation is \(value.text())")
  }
}

extension Padding {
  /// Longest padding that a file may ask for; more would only fill memory.
  private static let maximumLength = 1 << 24

  init(json: JSON) throws(Problem) {
    self.init()
    func malformed(_ key: String) -> Problem {
      Problem(.tokenizerMalformed, "`\(key)` of the padding is \((json[key] ?? .null).text())")
    }
    func count(_ value: JSON?, _ key: String, atMost limit: Int) throws(Problem) -> Int? {
      guard let value, !value.isNull else { return nil }
      guard let count = value.integer, count >= 0, count <= limit else { throw malformed(key) }
      return count
    }
    length = try count(json["strategy"]?["Fixed"], "strategy", atMost: Self.maximumLength)
    if length == nil, let name = json["strategy"]?.string, name != "BatchLongest" { throw malformed("strategy") }
    multiple = try count(json["pad_to_multiple_of"], "pad_to_multiple_of", atMost: Self.maximumLength)
    id = Int32(try count(json["pad_id"], "pad_id", atMost: Int(Int32.max) - 1) ?? 0)
    typeID = Int32(try count(json["pad_type_id"], "pad_type_id", atMost: Int(Int32.max) - 1) ?? 0)
    token = json["pad_token"]?.string ?? "[PAD]"
    if let name = json["direction"]?.string {
      guard let direction = Direction(rawValue: name) else { throw malformed("direction") }
      self.direction = direction
    }
  }
}
