public import EspalierBasics
public import EspalierNetworks
public import EspalierNumerics

/// How models are run for a figure. Nothing here but the bootstrap changes a digit of a figure in exact mode.
public struct EvaluationOptions: Sendable {
  public var pool: WorkerPool
  /// Tokens run at once: sequences are grouped until they have this many. A longer sequence runs alone.
  public var groupTokens: Int
  /// Bytes for logits, of all models compared; at least one row of each is computed.
  public var logitBytes: Int
  public var bootstrap: Bootstrap
  /// Hears of progress in bytes of token ids, four a token.
  public var listener: any ProgressListener

  public init(
    pool: WorkerPool, groupTokens: Int = 8192, logitBytes: Int = 32 << 20, bootstrap: Bootstrap = Bootstrap(),
    listener: any ProgressListener = SilentListener()
  ) {
    self.pool = pool
    self.groupTokens = max(1, groupTokens)
    self.logitBytes = max(1, logitBytes)
    self.bootstrap = bootstrap
    self.listener = listener
  }

  /// The same with groups and tiles that keep states and logits within `bytes`: a quarter for logits (at most 64 MiB),
  /// the rest for states. What the networks need while they run comes on top.
  ///
  /// - Parameters:
  ///   - bytes: for both together.
  ///   - stateWidths: the width of the final states of each model that is run side by side.
  public func fitting(bytes: Int, stateWidths: [Int]) -> EvaluationOptions {
    var options = self
    options.logitBytes = max(1, min(64 << 20, bytes / 4))
    let bytesPerToken = stateWidths.reduce(0) { $0 + $1 * MemoryLayout<Float>.stride }
    options.groupTokens = max(1, (bytes - options.logitBytes) / max(1, bytesPerToken))
    return options
  }
}

/// A language model under a name, with the tokenizer it was made for.
public struct EvaluatedModel: Sendable {
  public var name: String
  public var model: any LanguageModel
  public var codec: any TextCodec

  public init(name: String, model: any LanguageModel, codec: any TextCodec) {
    self.name = name
    self.model = model
    self.codec = codec
  }
}
