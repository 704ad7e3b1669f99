public import EspalierBasics

/// What a recipe says about the output's tokenizer: mergekit's `tokenizer:` (or `tokenizer_source:`) entry.
public struct TokenizerOptions: Sendable, Hashable {
  /// Whose vocabulary the output gets.
  public enum Source: Sendable, Hashable {
    /// The base model's (or, without one, the first model's) and behind it all tokens that only others have.
    case union
    /// The base model's, or, without one, the first model's.
    case base
    /// That of the model of this name.
    case model(String)
  }

  /// Where the embedding of a token comes from.
  public enum RowSource: Sendable, Hashable {
    /// The named model's own row for the token.
    case model(String)
    case zero
    /// A row of the named model, by number: `{kind: model_token, model, token_id}`.
    case row(model: String, id: Int)
    /// The named model's row of another token: `{kind: model_token, model, token}`.
    case token(model: String, token: ExactString)
  }

  /// An entry of `tokens:`. A token that the vocabulary does not have is added to it.
  public struct Rule: Sendable, Hashable {
    public var token: ExactString
    /// For the models that do not have the token; nil: as for tokens without a rule.
    public var source: RowSource?
    /// The source holds for the models that have the token, too.
    public var force: Bool

    public init(_ token: ExactString, source: RowSource?, force: Bool = false) {
      self.token = token
      self.source = source
      self.force = force
    }
  }

  public var source: Source
  public var rules: [Rule]
  /// The embedding's rows are filled up to a multiple of this; the vocabulary is not.
  public var padToMultipleOf: Int?

  public init(source: Source = .union, rules: [Rule] = [], padToMultipleOf: Int? = nil) {
    self.source = source
    self.rules = rules
    self.padToMultipleOf = padToMultipleOf
  }
}

/// One of the models of a merge, as far as its tokenizer goes.
public struct TokenizedModel: Sendable {
  /// As the recipe calls it.
  public var name: String
  public var files: TokenizerFiles
  /// Nil if the folder has no tokenizer: the model is then taken to have the base's.
  public var vocabulary: Vocabulary?
  /// Rows of the model's embedding; nil if only its tokenizer takes part.
  public var embeddingRows: Int?

  /// - Throws: what ``Vocabulary/init(_:)`` throws, but not for a folder without any tokenizer.
  public init(name: String, files: TokenizerFiles, embeddingRows: Int?) throws(Problem) {
    self.name = name
    self.files = files
    self.embeddingRows = embeddingRows
    vocabulary = files.isEmpty ? nil : try Vocabulary(files)
  }
}
