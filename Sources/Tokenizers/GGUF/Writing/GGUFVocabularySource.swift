public import EspalierBasics

extension GGUFVocabulary {
  /// What is known of a model whose tokenizer is to become the vocabulary of a GGUF file.
  public struct Source: Sendable {
    /// The tokenizer's files: `tokenizer.json` or, without it, SentencePiece's `tokenizer.model` or `spiece.model`;
    /// and those beside it.
    public var files: TokenizerFiles
    /// `config.json`: the family, and ids of special tokens that the tokenizer's files do not name.
    public var configuration: JSON?
    /// `generation_config.json`, for ids that are in neither.
    public var generationConfiguration: JSON?
    /// Rows of the model's embedding, which is how many tokens the vocabulary gets; nil: as many as there are.
    public var rows: Int?
    /// The name of the pre-tokenizer (`tokenizer.ggml.pre`), if it is not to be found by its expressions.
    public var preTokenizer: String?
    /// Whether the vocabulary carries the whole `tokenizer.json`, which llama.cpp does not look at.
    public var carriesTokenizerJSON = false
    /// As it will be under `general.name`, by which llama.cpp treats added tokens of some models.
    public var modelName = ""

    public init(files: TokenizerFiles, configuration: JSON? = nil, rows: Int? = nil) {
      self.files = files
      self.configuration = configuration
      self.rows = rows
    }
  }

  /// The vocabulary of a GGUF file that gives the ids of a model's tokenizer: the inverse of ``tokenizerFiles()``.
  ///
  /// What becomes of a tokenizer:
  ///
  /// | tokenizer | kind | by |
  /// |---|---|---|
  /// | byte-level BPE | `gpt2` | tokens, merges, the name of the pre-tokenizer |
  /// | BPE with byte fallback, SentencePiece's BPE | `llama` | tokens, scores (``MergeScores``) |
  /// | Unigram, SentencePiece's Unigram | `t5` | tokens, scores, the character map |
  /// | WordPiece as BERT has it | `bert` | tokens with U+2581 where words begin |
  ///
  /// Rows of the embedding without a token get `[PAD<row>]`, of the kind `unused`. Scores of SentencePiece's file are
  /// taken if it has the tokens of `tokenizer.json`. Where texts may come out otherwise than by the tokenizer's own
  /// files, warnings say so; a few probing texts are encoded both ways to find out. Chat templates come along.
  ///
  /// - Throws: ``Problem/Code/tokenizerMissing`` without a tokenizer; ``Problem/Code/tokenizerUnsupported``, with the
  ///   reason, for one that no GGUF file can hold; ``Problem/Code/tokenizerMalformed`` and
  ///   ``Problem/Code/tokenizerDuplicate`` for files that contradict themselves.
  public static func describing(_ source: Source) throws(Problem) -> (vocabulary: GGUFVocabulary, warnings: [Problem]) {
    var draft = VocabularyDraft(source)
    if let json = source.files.tokenizer {
      do throws(Problem) { try draft.read(tokenizer: json) } catch { throw error.at(file: "tokenizer.json") }
    } else if let (name, bytes) = draft.sentencePieceFile {
      do throws(Problem) { try draft.read(try SentencePieceFile(bytes: bytes)) } catch { throw error.at(file: name) }
    } else {
      throw Problem(
        .tokenizerMissing, "the model has neither tokenizer.json nor a model of SentencePiece",
        remedy: "Save the tokenizer once with transformers, which writes tokenizer.json.")
    }
    try draft.check()
    return (draft.vocabulary, draft.warnings)
  }
}

/// A ``GGUFVocabulary`` in the making.
struct VocabularyDraft {
  let source: GGUFVocabulary.Source
  var vocabulary = GGUFVocabulary(model: "", tokens: [])
  private(set) var warnings: [Problem] = []
  /// The tokenizer it is made from, if there is one that runs.
  var tokenizer: Tokenizer?

  init(_ source: GGUFVocabulary.Source) { self.source = source }

  var family: String? {
    source.configuration?["model_type"]?.string ?? source.configuration?["text_config"]?["model_type"]?.string
  }

  var sentencePieceFile: (name: String, bytes: [UInt8])? {
    let contents = source.files.contents
    for name in ["tokenizer.model", "spiece.model"] {
      if let bytes = contents[name] { return (name, bytes) }
    }
    return nil
  }

  mutating func warn(_ message: String, _ code: Problem.Code = .tokenizerInexact) {
    warnings.append(Problem(code, message, severity: .warning))
  }

  static func inexpressible(_ reason: String) -> Problem {
    Problem(.tokenizerUnsupported, "the tokenizer cannot be written to a GGUF file: \(reason)")
  }

  mutating func read(tokenizer json: JSON) throws(Problem) {
    let tokenizer = try Tokenizer(json: json)
    self.tokenizer = tokenizer
    guard let model = json["model"] else { throw Problem(.tokenizerMalformed, "the tokenizer has no model") }
    let known = try Vocabulary(source.files)
    let steps = tokenizer.parts.preTokenizer?.steps ?? []
    let isByteLevel = steps.contains { if case .byteLevel = $0 { true } else { false } }
    switch known.kind {
    case .bpe where isByteLevel: try readByteLevel(model, steps, known)
    case .bpe: try readByteFallback(model, steps, known)
    case .unigram: try readUnigram(json, steps, known)
    case .wordPiece: try readWordPiece(json, steps, known)
    case .wordLevel: throw Self.inexpressible("there is no kind of vocabulary for whole words (WordLevel)")
    }
    if source.carriesTokenizerJSON {
      vocabulary.tokenizerJSON = source.files.contents["tokenizer.json"].map { String(decoding: $0, as: UTF8.self) }
    }
    finish(unknown: model["unk_token"]?.string)
  }

  /// Roles, chat templates and names, when the tokens are there.
  ///
  /// - Parameter unknown: the model's own token for the unknown, if the configuration names none.
  mutating func finish(unknown: String?) {
    var ids: [ExactString: Int] = [:]
    for (id, token) in vocabulary.tokens.enumerated() { ids[ExactString(String(decoding: token, as: UTF8.self))] = id }
    let processor = tokenizer?.parts.postProcessor
    let roles = VocabularyRoles(source, processor: processor, count: vocabulary.tokens.count) { ids[ExactString($0)] }
    let implied = vocabulary.ids[.unknown] ?? unknown.flatMap { ids[ExactString($0)] }
    vocabulary.ids = roles.ids
    if let implied, roles.ids[.unknown] == nil, vocabulary.tokens.indices.contains(implied) {
      vocabulary.ids[.unknown] = implied
    }
    vocabulary.addsBeginning = roles.addsBeginning
    vocabulary.addsEnd = roles.addsEnd
    vocabulary.addsSeparator = roles.addsSeparator
    warnings += roles.warnings
    vocabulary.chatTemplates = source.files.chatTemplates
    vocabulary.modelName = source.modelName
    vocabulary.architecture = family ?? ""
    if tokenizer != nil { setImpliedEnds() }
  }

  /// What a kind of vocabulary puts around texts unless told otherwise is told otherwise if the tokenizer does not.
  private mutating func setImpliedEnds() {
    let begins: Bool
    switch vocabulary.model {
    case "llama": begins = true
    case "gpt2": begins = (try? GGUFPreTokenizer.named(vocabulary.preTokenizer))?.addsBeginning ?? false
    default: begins = false
    }
    if begins, vocabulary.addsBeginning == nil { vocabulary.addsBeginning = false }
    if vocabulary.model == "t5", vocabulary.addsEnd == nil { vocabulary.addsEnd = false }
    if vocabulary.model == "bert" {
      if vocabulary.ids[.separator] == nil { vocabulary.ids[.separator] = vocabulary.ids[.end] }
      if vocabulary.addsBeginning != true && tokenizer?.parts.postProcessor?.addedCount(isPair: false) != 2 {
        warn("programs that run GGUF files put the tokens for beginning and end around every text of a BERT model")
      }
    }
  }

  // MARK: Tokens

  /// Ids beyond are no tokens of a real model, and would only fill memory.
  private static let maximumRows = 1 << 24

  /// Gives every row a token.
  ///
  /// - Parameter spelled: text and kind of a token, by its id; nil for a row without one.
  mutating func setTokens(
    count: Int, _ spelled: (Int) throws(Problem) -> (text: [UInt8], kind: GGUFVocabulary.Kind)?
  ) throws(Problem) {
    let rows = source.rows ?? count
    guard rows > 0, rows <= Self.maximumRows else {
      throw Problem(.tokenizerMalformed, "a vocabulary of \(rows) tokens is not between 1 and \(Self.maximumRows)")
    }
    if rows < count {
      warn(
        "the model has \(rows) rows for the ids of its tokenizer, which go to \(count - 1): tokens beyond are left out",
        .tokenizerBeyondEmbedding)
    }
    vocabulary.tokens = []
    vocabulary.kinds = []
    for id in 0..<rows {
      let (text, kind) = id < count ? try spelled(id) ?? Self.padding(id) : Self.padding(id)
      vocabulary.tokens.append(text)
      vocabulary.kinds.append(kind)
    }
  }

  private static func padding(_ id: Int) -> (text: [UInt8], kind: GGUFVocabulary.Kind) {
    (Array("[PAD\(id)]".utf8), .unused)
  }

  /// The spelling and kind of an added token: special ones, and those that look like it, are control tokens.
  static func added(_ token: AddedToken) -> (text: [UInt8], kind: GGUFVocabulary.Kind) {
    let text = Array(token.content.text.utf8)
    if token.special || looksSpecial(token.content.text) { return (text, .control) }
    return (ByteText.replacing(text, [0xE2, 0x96, 0x81], by: [0x20]), .userDefined)
  }

  /// Tokens that some models do not call special though they are.
  private static func looksSpecial(_ token: String) -> Bool {
    let bytes = Array(token.utf8)
    func isFramed(_ begin: String, _ end: String) -> Bool {
      bytes.starts(with: begin.utf8) && bytes.reversed().starts(with: end.utf8.reversed())
    }
    return ["<pad>", "<mask>", "<2mass>", "[@BOS@]"].contains { ExactString($0) == ExactString(token) }
      || isFramed("<|", "|>") || isFramed("<\u{FF5C}", "\u{FF5C}>") || isFramed("<unused", ">")
  }
}
