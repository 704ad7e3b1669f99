public import EspalierBasics

/// The tokens of a tokenizer and their ids: those of its model (BPE, WordPiece, WordLevel, Unigram) and added ones.
///
/// Tokens are compared by their bytes; both directions are one-to-one. Ids need not be contiguous.
public struct Vocabulary: Sendable {
  /// The tokenizer's model, by its name in `tokenizer.json`.
  public enum Kind: String, Sendable, Hashable {
    case bpe = "BPE"
    case wordPiece = "WordPiece"
    case wordLevel = "WordLevel"
    case unigram = "Unigram"
  }

  public let kind: Kind
  /// The added tokens with their flags, by content.
  public private(set) var added: [ExactString: AddedToken] = [:]
  /// One more than the largest id; zero if there are no tokens.
  public private(set) var size = 0

  private var ids: [ExactString: Int] = [:]
  private var tokens: [Int: ExactString] = [:]

  /// Number of tokens.
  public var count: Int { ids.count }

  public func id(of token: ExactString) -> Int? { ids[token] }
  public func token(_ id: Int) -> ExactString? { tokens[id] }

  /// All tokens with their ids, in the order of the ids.
  public var ordered: [(id: Int, token: ExactString)] {
    tokens.map { (id: $0.key, token: $0.value) }.sorted { $0.id < $1.id }
  }

  /// The ids below ``size`` that name no token, as ranges.
  public var holes: [Range<Int>] {
    var holes: [Range<Int>] = []
    var next = 0
    for id in tokens.keys.sorted() {
      if id > next { holes.append(next..<id) }
      next = id + 1
    }
    return holes
  }

  /// True if both give the same ids to the same tokens, whatever the flags of added tokens.
  public func agrees(with other: Vocabulary) -> Bool { ids == other.ids }

  /// Gives a token an id.
  ///
  /// - Throws: ``Problem/Code/tokenizerDuplicate`` if either is taken by another.
  private mutating func insert(_ token: ExactString, id: Int) throws(Problem) {
    // Ids are 32 bits wide in every implementation; this also keeps `id + 1` from overflowing.
    guard id >= 0, id <= Int32.max else {
      throw Problem(.tokenizerMalformed, "the id \(id) of token \(quoted(token)) is not between 0 and \(Int32.max)")
    }
    if let other = ids[token], other != id {
      throw Problem(.tokenizerDuplicate, "token \(quoted(token)) has the ids \(other) and \(id)")
    }
    if let other = tokens[id], other != token {
      throw Problem(.tokenizerDuplicate, "the id \(id) is given to \(quoted(other)) and to \(quoted(token))")
    }
    ids[token] = id
    tokens[id] = token
    size = max(size, id + 1)
  }

  mutating func insert(_ token: AddedToken) throws(Problem) {
    try insert(token.content, id: token.id)
    if added[token.content] == nil { added[token.content] = token }
  }
}

// MARK: - Reading

extension Vocabulary {
  /// Reads the vocabulary of a model folder: `tokenizer.json`, or `vocab.json` of a BPE tokenizer without it, and the
  /// tokens that `added_tokens.json` and `tokenizer_config.json` add.
  ///
  /// - Throws: a ``Problem`` that names the file: no tokenizer, one in another form (SentencePiece), something that
  ///   is not as it should be, or an id or token that is there twice.
  public init(_ files: TokenizerFiles) throws(Problem) {
    if let tokenizer = files.tokenizer {
      do { try self.init(tokenizer: tokenizer) } catch { throw error.at(file: "tokenizer.json") }
    } else if let vocabulary = files.vocabularyFile {
      self.init(kind: .bpe)
      do { try insert(mapping: vocabulary) } catch { throw error.at(file: "vocab.json") }
    } else if let name = files.otherForm {
      throw Problem(
        .tokenizerUnsupported, "the vocabulary of \(name) is not read",
        remedy: "save the tokenizer once with transformers, which writes tokenizer.json", file: name)
    } else {
      throw Problem(.tokenizerMissing, "there is no tokenizer: neither tokenizer.json nor vocab.json")
    }
    do { try insertAdded(files.addedTokens) } catch { throw error.at(file: "added_tokens.json") }
    do { try insertDecoder(files.configuration?["added_tokens_decoder"]) } catch {
      throw error.at(file: "tokenizer_config.json")
    }
  }

  private init(kind: Kind) { self.kind = kind }

  private init(tokenizer: JSON) throws(Problem) {
    guard let model = tokenizer["model"], let vocabulary = model["vocab"] else {
      throw Problem(.tokenizerMalformed, "there is no model with a vocabulary")
    }
    self.init(kind: try Self.kind(of: model))
    if kind == .unigram { try insert(pieces: vocabulary) } else { try insert(mapping: vocabulary) }
    for entry in tokenizer["added_tokens"]?.array ?? [] {
      guard let token = AddedToken(entry) else {
        throw Problem(.tokenizerMalformed, "an entry of added_tokens has no id or content: \(entry.text())")
      }
      try insert(token)
    }
  }

  /// The kind a model names. Files from before `type` was written are told apart by what they hold, in the order in
  /// which the tokenizers library tries.
  static func kind(of model: JSON) throws(Problem) -> Kind {
    if let name = model["type"]?.string {
      guard let kind = Kind(rawValue: name) else {
        throw Problem(.tokenizerUnsupported, "tokenizers of type \(name) are not read")
      }
      return kind
    }
    if model["merges"] != nil { return .bpe }
    if model["vocab"]?.array != nil { return .unigram }
    return model["max_input_chars_per_word"] != nil ? .wordPiece : .wordLevel
  }

  /// `{"token": id}`: BPE, WordPiece, WordLevel.
  private mutating func insert(mapping: JSON) throws(Problem) {
    guard let members = mapping.members else { throw Problem(.tokenizerMalformed, "the vocabulary is no object") }
    for (token, value) in members.pairs { try insert(ExactString(token), id: try Self.id(value, of: token)) }
  }

  /// `[["piece", log probability]]`: Unigram. The place in the list is the id.
  private mutating func insert(pieces: JSON) throws(Problem) {
    guard let pieces = pieces.array else { throw Problem(.tokenizerMalformed, "the vocabulary is no list") }
    for (id, entry) in pieces.enumerated() {
      guard let piece = entry[0]?.string else {
        throw Problem(.tokenizerMalformed, "entry \(id) of the vocabulary is no piece: \(entry.text())")
      }
      try insert(ExactString(piece), id: id)
    }
  }

  /// `added_tokens.json`. What `tokenizer.json` lists already keeps its flags.
  private mutating func insertAdded(_ mapping: JSON?) throws(Problem) {
    for (token, value) in mapping?.members?.pairs ?? [] {
      try insert(AddedToken(ExactString(token), id: try Self.id(value, of: token)))
    }
  }

  /// `added_tokens_decoder`: ids, as strings, to tokens with flags.
  private mutating func insertDecoder(_ decoder: JSON?) throws(Problem) {
    for (key, entry) in decoder?.members?.pairs ?? [] {
      guard let id = Int(key), let token = AddedToken(entry, id: id) else {
        throw Problem(.tokenizerMalformed, "an entry of added_tokens_decoder is not an id and a token: \(key)")
      }
      try insert(token)
    }
  }

  private static func id(_ value: JSON, of token: String) throws(Problem) -> Int {
    guard let id = value.integer else {
      throw Problem(.tokenizerMalformed, "the id of token \(quoted(ExactString(token))) is no integer: \(value.text())")
    }
    return id
  }
}

/// A token as it is shown in messages: control characters and quotes escaped.
func quoted(_ token: ExactString) -> String { JSON.string(token.text).text() }
