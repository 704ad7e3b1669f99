internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierNetworks
internal import EspalierTokenizers

/// A model's tokenizer as evaluation uses it.
struct ModelCodec: TextCodec {
  let tokenizer: Tokenizer
  let beginToken: Int32?
  let prefixToken: Int32?

  /// - Parameter names: special tokens by their role.
  init(_ tokenizer: Tokenizer, names: [String: String]) throws(Problem) {
    self.tokenizer = tokenizer
    // What stands before a text that is encoded with special tokens and not without.
    let (plain, whole) = (try tokenizer.ids("a", addSpecialTokens: false), try tokenizer.ids("a"))
    let added = whole.count > plain.count && whole.first != plain.first
    beginToken = added ? whole.first : nil
    let known = ["bos_token", "eos_token"].lazy.compactMap { names[$0].flatMap { tokenizer.id(of: $0) } }
    prefixToken = beginToken ?? known.first
  }

  func encode(_ text: String) throws(Problem) -> [Int32] { try tokenizer.ids(text, addSpecialTokens: false) }
  func decode(_ ids: [Int32]) throws(Problem) -> String { try tokenizer.decode(ids) }
}

/// The tokenizer of a model that reads a text whole: with the special tokens that stand around it.
struct RewritingCodec: TextCodec {
  let tokenizer: Tokenizer
  var beginToken: Int32? { nil }
  var prefixToken: Int32? { nil }

  func encode(_ text: String) throws(Problem) -> [Int32] { try tokenizer.ids(text) }
  func decode(_ ids: [Int32]) throws(Problem) -> String { try tokenizer.decode(ids) }
}

extension TextModel {
  /// The model as evaluation wants it.
  func evaluated(name: String) throws(Problem) -> EvaluatedModel {
    EvaluatedModel(name: name, model: model, codec: try ModelCodec(tokenizer, names: vocabulary.specialTokens))
  }
}

extension RunOptions {
  /// An encoder with its tokenizer. Special tokens are put around texts, and texts are cut to what the model reads.
  func encoder(of checkpoint: any Checkpoint, name: String, beside others: Int = 0) throws(Problem) -> EvaluatedEncoder
  {
    let encoder = try SequenceEncoder(try network(of: checkpoint, beside: others))
    var parts = try ModelTokenizer(of: checkpoint).tokenizer.parts
    parts.truncation = encoder.contextLength.map { Truncation(maximumLength: $0) }
    let tokenizer = try Tokenizer(parts)
    return EvaluatedEncoder(name: name, model: encoder) { (text, pair) throws(Problem) in
      try tokenizer.encode(text, pair: pair).ids
    }
  }
}
