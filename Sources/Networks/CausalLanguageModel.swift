internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierLinearMaps
internal import EspalierNumerics

/// A network that predicts the next token, as evaluation and generation see it.
public struct CausalLanguageModel: LanguageModel {
  public let network: Network
  public let vocabularySize: Int
  public let contextLength: Int?
  /// The tokens it can read.
  let tokens: Range<Int32>
  /// The width of final states.
  public let width: Int

  public var mode: NumericMode { network.mode }

  /// - Throws: `network.input` if the network does not give logits for every token of a text it reads from left to
  ///   right.
  public init(_ network: Network) throws(Problem) {
    guard let widths = network.headWidths(rows: .tokens), network.plan.slot("decoderTokens") == nil,
      network.readsForward
    else {
      throw Problem(
        .networkInput, "a network of the family \(network.program.architecture) with this config is no language model",
        remedy:
          "It does not predict the next token of a text. Encoders give embeddings and classes; `forward` runs any.")
    }
    self.network = network
    (width, vocabularySize) = widths
    tokens = 0..<Int32(clamping: network.plan.entries(of: "tokens") ?? vocabularySize)
    contextLength = network.config.contextLength
  }

  /// Rows of logits that are computed together: as many as keep them within 16 MB.
  private var logitsTogether: Int { max(32, min(512, (4 << 20) / vocabularySize)) }

  public func finalStates(of sequences: [[Int32]]) throws(Problem) -> FinalStates {
    var starts = [0]
    for sequence in sequences { starts.append(starts[starts.count - 1] + sequence.count) }
    let values = try AlignedBuffer(count: starts[starts.count - 1] * width, of: Float.self)
    try network.withWorkspace { (workspace) throws(Problem) in
      var groups: [(first: Int, execution: Execution)] = []
      for group in groupsOfSequences(sequences) {
        let inputs = NetworkInputs(tokens: Array(sequences[group]))
        let slots = try inputs.activations(skipping: network.program.positionsSkip)
        groups.append(
          (group.lowerBound, Execution(network.plan, run: network.operationRun(workspace), inputs: slots)))
      }
      try network.run(network.trunk, groups.map(\.execution)) { (index, execution) throws(Problem) in
        if let final = execution.value("final") {
          (values.floats.baseAddress! + starts[groups[index].first] * width).update(
            from: final.floats, count: final.count)
        }
        execution.finish()
      }
    }
    return FinalStates(starts: starts, width: width, values: values)
  }

  private func groupsOfSequences(_ sequences: [[Int32]]) -> [Range<Int>] {
    var groups: [Range<Int>] = []
    var (first, rows) = (0, 0)
    for (index, sequence) in sequences.enumerated() {
      if rows > 0, rows + sequence.count > network.rowsTogether {
        groups.append(first..<index)
        (first, rows) = (index, 0)
      }
      rows += sequence.count
    }
    if first < sequences.count { groups.append(first..<sequences.count) }
    return groups
  }

  public func logits(
    of states: FinalStates, rows: Range<Int>, into logits: UnsafeMutablePointer<Float>
  ) throws(Problem) {
    try network.withWorkspace { (workspace) throws(Problem) in
      for first in stride(from: rows.lowerBound, to: rows.upperBound, by: logitsTogether) {
        let count = min(logitsTogether, rows.upperBound - first)
        let final = Activation(
          buffer: try workspace.take(count * width), width: width, segments: Segments(lengths: [count]))
        final.floats.update(from: states.values.floats.baseAddress! + first * width, count: count * width)
        try head(final, workspace, into: logits + (first - rows.lowerBound) * vocabularySize)
      }
    }
  }

  /// Runs the head on rows of final states, which are given back.
  func head(_ final: Activation, _ workspace: Workspace, into logits: UnsafeMutablePointer<Float>) throws(Problem) {
    let execution = Execution(network.plan, run: network.operationRun(workspace), inputs: ["final": .floats(final)])
    try network.run(network.heads, [execution]) { (_, execution) throws(Problem) in
      if let value = execution.value("logits") { logits.update(from: value.floats, count: value.count) }
      execution.finish()
    }
  }
}

extension Network {
  /// The widths of `final` and `logits` where a head turns each row of final states, which the layers before it give
  /// every token, into a row of logits, and looks at nothing else; nil where it does not.
  func headWidths(rows: RowSpace) -> (final: Int, logits: Int)? {
    guard plan.headsRead(only: "final"), let final = plan.layout(of: "final", after: trunk),
      let logits = plan.layout(of: "logits", after: plan.sections), heads.writes("logits", in: plan),
      final.rows == rows, logits.rows == rows, let width = final.width, let size = logits.width
    else { return nil }
    return (width, size)
  }

  /// Rows of the table that tokens are looked up in; nil if there is none.
  public var entryCount: Int? { plan.entries(of: "tokens") }

  /// Bytes of keys and values that a token leaves behind in the layers that look back.
  public var stateBytesPerToken: Int {
    plan.sections.reduce(0) { sum, section in
      section.steps.reduce(sum) { $0 + (($1.operation as? AttentionOperation)?.bytesPerToken ?? 0) }
    }
  }

  /// Whether every operation that looks at other tokens looks back only.
  var readsForward: Bool {
    plan.sections.allSatisfy { $0.steps.allSatisfy { ($0.operation as? any SequenceOperation)?.isCausal ?? true } }
  }
}

extension Plan {
  /// The entries of the first table that a slot's indices look into.
  fileprivate func entries(of name: String) -> Int? {
    let slot = slot(name)
    return sections.lazy.flatMap(\.steps).first { $0.inputs.first == slot && $0.operation is EmbeddingOperation }
      .flatMap { ($0.operation as? EmbeddingOperation)?.entries }
  }
}

extension [Plan.Section] {
  func writes(_ name: String, in plan: Plan) -> Bool {
    guard let slot = plan.slot(name) else { return false }
    return contains { $0.steps.contains { $0.outputs.contains(slot) } }
  }
}

extension Checkpoint {
  /// The longest sequence that the config says the model was made for.
  public var contextLength: Int? { config?.contextLength }
}

extension JSON {
  fileprivate var contextLength: Int? {
    ["max_position_embeddings", "n_positions", "n_ctx"].lazy.compactMap { self[$0]?.integer }.first { $0 > 1 }
  }
}
