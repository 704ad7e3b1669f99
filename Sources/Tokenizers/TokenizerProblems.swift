public import EspalierBasics

extension Problem.Code {
  /// A model folder has no tokenizer, or none that can be read.
  public static let tokenizerMissing = Problem.Code("tokenizer.missing")
  /// The tokenizer is of a form that is not read; the message names it.
  public static let tokenizerUnsupported = Problem.Code("tokenizer.unsupported")
  /// A tokenizer file does not say what it should.
  public static let tokenizerMalformed = Problem.Code("tokenizer.malformed")
  /// One id names two tokens, or one token has two ids.
  public static let tokenizerDuplicate = Problem.Code("tokenizer.duplicate")
  /// Ids between the smallest and the largest that name no token.
  public static let tokenizerHoles = Problem.Code("tokenizer.holes")
  /// Tokens whose ids lie beyond the rows of the model's embedding.
  public static let tokenizerBeyondEmbedding = Problem.Code("tokenizer.beyond-embedding")
  /// The models' tokenizers are of different kinds (BPE, Unigram, ...).
  public static let tokenizerKindsDiffer = Problem.Code("tokenizer.kinds-differ")
  /// The same id means different tokens in different models.
  public static let tokenizerIDsDiffer = Problem.Code("tokenizer.ids-differ")
  /// Beginning, end, padding or unknown are different tokens in different models.
  public static let tokenizerSpecialTokensDiffer = Problem.Code("tokenizer.special-tokens-differ")
  /// One added token is matched differently (flags) by different models.
  public static let tokenizerFlagsDiffer = Problem.Code("tokenizer.flags-differ")
  /// The options name a model that is not there.
  public static let tokenizerUnknownModel = Problem.Code("tokenizer.unknown-model")
  /// The options take a row that the model does not have.
  public static let tokenizerUnknownRow = Problem.Code("tokenizer.unknown-row")
  /// The options contradict themselves.
  public static let tokenizerOptions = Problem.Code("tokenizer.options")
  /// A token that no model has a row for: its row is zero.
  public static let tokenizerZeroRow = Problem.Code("tokenizer.zero-row")
  /// The models' chat templates are not the same.
  public static let chatTemplatesDiffer = Problem.Code("chat-template.differs")
  /// A chat template's name is not known.
  public static let chatTemplateUnknown = Problem.Code("chat-template.unknown")
}
