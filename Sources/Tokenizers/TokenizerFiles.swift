public import EspalierBasics

/// The files of a model folder that make up its tokenizer.
///
/// Those that Espalier understands can be looked into and changed; a file that is not changed is written out again
/// byte for byte, whatever its layout was.
public struct TokenizerFiles: Sendable {
  /// The names a folder is searched for. Chat templates under `additional_chat_templates/` belong to them too.
  public static let names = [
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt", "vocab.txt", "tokenizer.model", "spiece.model", "chat_template.jinja", "chat_template.json",
  ]

  /// The files with their bytes, as they are to be written.
  public private(set) var contents: [String: [UInt8]]

  /// `tokenizer.json`: the whole tokenizer, as the tokenizers library keeps it.
  public var tokenizer: JSON? { didSet { replace("tokenizer.json", with: tokenizer) } }
  /// `tokenizer_config.json`: special tokens, chat template, class.
  public var configuration: JSON? { didSet { replace("tokenizer_config.json", with: configuration) } }
  /// `added_tokens.json`: token to id.
  public var addedTokens: JSON? { didSet { replace("added_tokens.json", with: addedTokens) } }
  /// `special_tokens_map.json`: role to token.
  public let specialTokensMap: JSON?
  /// `vocab.json`: token to id, of a BPE tokenizer without `tokenizer.json`.
  public let vocabularyFile: JSON?

  /// Reads the JSON files among `files`, keyed by name within the folder.
  ///
  /// - Throws: the JSON reader's ``Problem``, naming the file.
  public init(files: [String: [UInt8]]) throws(Problem) {
    contents = files
    tokenizer = try Self.json("tokenizer.json", in: files)
    configuration = try Self.json("tokenizer_config.json", in: files)
    addedTokens = try Self.json("added_tokens.json", in: files)
    specialTokensMap = try Self.json("special_tokens_map.json", in: files)
    vocabularyFile = try Self.json("vocab.json", in: files)
  }

  /// True if there is nothing that could be a tokenizer: its settings alone are none.
  public var isEmpty: Bool {
    tokenizer == nil && vocabularyFile == nil && otherForm == nil
  }

  /// A vocabulary in a form that is not read, if the folder has one of these and no other.
  var otherForm: String? { ["tokenizer.model", "spiece.model", "vocab.txt"].first { contents[$0] != nil } }

  private static func json(_ name: String, in files: [String: [UInt8]]) throws(Problem) -> JSON? {
    guard let bytes = files[name] else { return nil }
    do { return try JSON(parsing: bytes) } catch { throw error.at(file: name) }
  }

  private mutating func replace(_ name: String, with value: JSON?) {
    contents[name] = value.map { Array(($0.text(pretty: true) + "\n").utf8) }
  }
}

// MARK: - Chat template

extension TokenizerFiles {
  private static let templateFile = "chat_template.jinja"

  /// The default chat template, Jinja text; nil if the model has none.
  ///
  /// It is the file `chat_template.jinja` if there is one, else `chat_template` in `tokenizer_config.json`: a string,
  /// or a list of named templates, of which the one called `default` counts. Setting it writes to where it was, or to
  /// `tokenizer_config.json`.
  public var chatTemplate: String? {
    get {
      if let bytes = contents[Self.templateFile] { return String(decoding: bytes, as: UTF8.self) }
      let setting = configuration?["chat_template"]
      return setting?.string ?? setting?.array?.first(where: Self.isDefault)?["template"]?.string
    }
    set {
      guard contents[Self.templateFile] == nil, case .object? = configuration else {
        contents[Self.templateFile] = newValue.map { Array($0.utf8) }
        return
      }
      let setting = templateSetting(newValue)
      configuration?["chat_template"] = setting
    }
  }

  private static func isDefault(_ entry: JSON) -> Bool { entry["name"]?.string == "default" }

  /// The value of `chat_template` in `tokenizer_config.json`: a list keeps its other templates.
  private func templateSetting(_ template: String?) -> JSON? {
    guard let named = configuration?["chat_template"]?.array else { return template.map(JSON.string) }
    let others = named.filter { !Self.isDefault($0) }
    guard let template else { return others.isEmpty ? nil : .array(others) }
    return .array([.object([("name", "default"), ("template", .string(template))])] + others)
  }
}

// MARK: - Special tokens

/// What a special token is for.
public enum SpecialTokenRole: String, Sendable, Hashable, CaseIterable {
  case beginning = "bos"
  case end = "eos"
  case padding = "pad"
  case unknown = "unk"

  /// The key in tokenizer files, e.g. `bos_token`.
  public var tokenKey: String { rawValue + "_token" }
  /// The key in `config.json`, e.g. `bos_token_id`.
  public var idKey: String { rawValue + "_token_id" }
}

extension TokenizerFiles {
  /// The token that plays `role`, from `tokenizer_config.json` or else `special_tokens_map.json`.
  public func specialToken(_ role: SpecialTokenRole) -> ExactString? {
    let setting = configuration?[role.tokenKey] ?? specialTokensMap?[role.tokenKey]
    return (setting?.string ?? setting?["content"]?.string).map { ExactString($0) }
  }
}
