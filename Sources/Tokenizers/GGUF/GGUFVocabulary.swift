public import EspalierBasics

/// Reads values of a GGUF file by key; nil where the key is missing or of another type.
///
/// This room does not read GGUF files; who does hands it one of these.
public protocol GGUFValues {
  func text(_ key: String) -> String?
  func integer(_ key: String) -> Int?
  func truth(_ key: String) -> Bool?
  /// An array of strings, as bytes: they need not be UTF-8.
  func strings(_ key: String) -> [[UInt8]]?
  func integers(_ key: String) -> [Int]?
  func floats(_ key: String) -> [Float]?
}

/// The vocabulary of a GGUF file: what its keys `tokenizer.ggml.*` say.
///
/// ``Tokenizer/init(gguf:parsesSpecialTokens:)`` makes a tokenizer of it that gives the ids of llama.cpp.
public struct GGUFVocabulary: Sendable {
  /// What a token is for, as `tokenizer.ggml.token_type` numbers it.
  public enum Kind: Int, Sendable, Hashable {
    case undefined = 0
    case normal = 1
    case unknown = 2
    case control = 3
    case userDefined = 4
    case unused = 5
    case byte = 6
  }

  /// A part that a token plays, by its key `tokenizer.ggml.<role>_token_id`.
  public enum Role: String, Sendable, Hashable, CaseIterable {
    case beginning = "bos"
    case end = "eos"
    case endOfTurn = "eot"
    case endOfMessage = "eom"
    case unknown
    /// The key is spelt like this.
    case separator = "seperator"
    case padding
    case classification = "cls"
    case mask
    case fillPadding = "fim_pad"
    case fillRepository = "fim_rep"
    case fillSeparator = "fim_sep"
  }

  /// `llama`, `gpt2`, `bert`, `t5` ...
  public var model: String
  /// `tokenizer.ggml.pre`: how a `gpt2` vocabulary cuts text into words.
  public var preTokenizer: String?
  /// The tokens by id, in the spelling of the file.
  public var tokens: [[UInt8]]
  /// Empty, or one for each token.
  public var scores: [Float] = []
  /// Empty, or one for each token.
  public var kinds: [Kind] = []
  /// `left right` by rank.
  public var merges: [[UInt8]] = []
  public var ids: [Role: Int] = [:]
  public var addsBeginning: Bool?
  public var addsEnd: Bool?
  /// Whether a token stands between two texts; nothing here goes by it.
  public var addsSeparator: Bool?
  public var addsSpacePrefix: Bool?
  public var removesExtraSpaces: Bool?
  /// Of a `bert` vocabulary; true if not said.
  public var lowercases: Bool?
  /// Of a `bert` vocabulary; as ``lowercases`` if not said.
  public var stripsAccents: Bool?
  /// SentencePiece's precompiled character map; empty if there is none.
  public var characterMap: [UInt8] = []
  /// Jinja text by name; the one without a name is `default`.
  public var chatTemplates: [String: String] = [:]
  /// The model's `tokenizer.json` as it was, of files that carry it; nothing here goes by it.
  public var tokenizerJSON: String?
  /// `general.name` and `general.architecture`, by which some exceptions go.
  public var modelName = ""
  public var architecture = ""

  public init(model: String, tokens: [[UInt8]]) {
    self.model = model
    self.tokens = tokens
  }

  /// Reads the keys of a file.
  ///
  /// - Throws: ``Problem/Code/tokenizerMissing`` if the file has no vocabulary; ``Problem/Code/tokenizerMalformed`` if
  ///   there are fewer scores or types than tokens.
  public init(_ values: some GGUFValues) throws(Problem) {
    let prefix = "tokenizer.ggml."
    guard let model = values.text(prefix + "model"), let tokens = values.strings(prefix + "tokens") else {
      throw Problem(
        .tokenizerMissing, "the GGUF file has no vocabulary (tokenizer.ggml.model and tokenizer.ggml.tokens)")
    }
    self.init(model: model, tokens: tokens)
    preTokenizer = values.text(prefix + "pre")
    scores = values.floats(prefix + "scores") ?? values.integers(prefix + "scores")?.map(Float.init) ?? []
    kinds = values.integers(prefix + "token_type")?.map { Kind(rawValue: $0) ?? .undefined } ?? []
    merges = values.strings(prefix + "merges") ?? []
    for role in Role.allCases { ids[role] = values.integer(prefix + role.rawValue + "_token_id") }
    addsBeginning = values.truth(prefix + "add_bos_token")
    addsEnd = values.truth(prefix + "add_eos_token")
    addsSeparator = values.truth(prefix + "add_sep_token")
    addsSpacePrefix = values.truth(prefix + "add_space_prefix")
    removesExtraSpaces = values.truth(prefix + "remove_extra_whitespaces")
    lowercases = values.truth(prefix + "normalizer.lowercase")
    stripsAccents = values.truth(prefix + "normalizer.strip_accents")
    characterMap = values.integers(prefix + "precompiled_charsmap")?.map { UInt8(truncatingIfNeeded: $0) } ?? []
    chatTemplates["default"] = values.text("tokenizer.chat_template")
    for name in values.strings("tokenizer.chat_templates") ?? [] {
      let name = String(decoding: name, as: UTF8.self)
      chatTemplates[name] = values.text("tokenizer.chat_template." + name)
    }
    tokenizerJSON = values.text("tokenizer.huggingface.json")
    modelName = values.text("general.name") ?? ""
    architecture = values.text("general.architecture") ?? ""
    for (count, what) in [(scores.count, "scores"), (kinds.count, "token types")] where count != 0 {
      guard count >= tokens.count else {
        throw Problem(.tokenizerMalformed, "the GGUF vocabulary has \(tokens.count) tokens but \(count) \(what)")
      }
    }
  }
}

// MARK: - Chat templates

extension GGUFVocabulary {
  /// The chat template to use: the one called `name`, else `tool_use` if there are tools and there is such a one,
  /// else `default`.
  ///
  /// - Throws: ``Problem/Code/chatTemplateMissing`` if there is none; the codes of ``ChatTemplate/init(source:)``.
  public func chatTemplate(named name: String? = nil, forTools: Bool = false) throws(Problem) -> ChatTemplate {
    try ChatTemplate.chosen(from: chatTemplates, named: name, forTools: forTools)
  }

  /// The special tokens as chat templates know them: `bos_token`, `eos_token` and the like.
  public var specialTokenVariables: [String: String] {
    let names: [(Role, String)] = [
      (.beginning, "bos_token"), (.end, "eos_token"), (.unknown, "unk_token"), (.separator, "sep_token"),
      (.padding, "pad_token"), (.classification, "cls_token"), (.mask, "mask_token"),
    ]
    var variables: [String: String] = [:]
    for (role, name) in names {
      if let id = id(of: role) { variables[name] = String(decoding: tokens[id], as: UTF8.self) }
    }
    return variables
  }
}
