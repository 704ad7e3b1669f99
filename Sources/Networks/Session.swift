internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierNumerics

/// A sequence that grows: what was read is remembered, so that a further token costs one token.
///
/// In exact mode the logits are, to the bit, those of running the whole sequence at once, however it is cut into calls.
/// Used by one call at a time.
public final class Session: @unchecked Sendable {
  public let model: CausalLanguageModel
  /// What was read so far.
  public private(set) var tokens: [Int32] = []
  private var state: SequenceState
  private var regime: Int

  /// Tokens of a long prompt that go through the network together.
  private static let piece = 512

  public init(_ model: CausalLanguageModel) {
    self.model = model
    state = model.network.emptyState()
    regime = model.network.regime(length: 0)
  }

  /// Bytes that the session keeps in memory.
  public var byteCount: Int { state.byteCount }

  /// Forgets everything.
  public func reset() {
    tokens = []
    state = model.network.emptyState()
    regime = model.network.regime(length: 0)
  }

  /// Reads tokens and returns the logits for what follows the last of them, one a vocabulary entry.
  ///
  /// - Throws: `network.input` if there are none, or one is not in the vocabulary: nothing was read then. What reading
  ///   weights throws; the session is empty then.
  public func read(_ new: [Int32]) throws(Problem) -> [Float] {
    guard !new.isEmpty else { throw Problem(.networkInput, "there is no token to read") }
    if let wrong = new.first(where: { !model.tokens.contains($0) }) {
      throw Problem(.networkInput, "\(wrong) is not among the \(model.tokens.count) tokens the model has")
    }
    var unread = new
    tokens += new
    let needed = model.network.regime(length: tokens.count)
    if needed != regime {
      // Keys were turned by the angles of a shorter sequence.
      state = model.network.emptyState()
      regime = needed
      unread = tokens
    }
    do throws(Problem) {
      let logits = try extend(by: unread)
      try checkLogits(logits)
      return logits
    } catch {
      reset()
      throw error
    }
  }

  private func extend(by unread: [Int32]) throws(Problem) -> [Float] {
    let network = model.network
    var logits = [Float](repeating: 0, count: model.vocabularySize)
    try network.withWorkspace { (workspace) throws(Problem) in
      for start in stride(from: 0, to: unread.count, by: Self.piece) {
        let piece = Array(unread[start..<min(unread.count, start + Self.piece)])
        let isLast = start + piece.count == unread.count
        let run = network.operationRun(workspace, states: [state])
        let execution = Execution(network.plan, run: run, inputs: slots(piece))
        var final: Activation?
        try network.run(network.trunk, [execution]) { (_, execution) throws(Problem) in
          if isLast, let value = execution.value("final") { final = try lastRow(value, workspace) }
          execution.finish()
        }
        state.length += piece.count
        guard let final else { continue }
        let result: Result<Void, Problem> = logits.withUnsafeMutableBufferPointer { buffer in
          Result { () throws(Problem) in try model.head(final, workspace, into: buffer.baseAddress!) }
        }
        try result.get()
      }
    }
    return logits
  }

  private func slots(_ tokens: [Int32]) -> [String: SlotValue] {
    let first = Int32(clamping: state.length)
    let segments = Segments(starts: [0, tokens.count], positions: tokens.indices.map { first + Int32($0) })
    func indices(_ values: [Int32]) -> SlotValue {
      .indices(IndexRows(values: values, segments: segments))
    }
    return [
      "tokens": indices(tokens), "positions": indices(segments.positions),
      "types": indices(Array(repeating: 0, count: tokens.count)),
    ]
  }

  private func lastRow(_ value: Activation, _ workspace: Workspace) throws(Problem) -> Activation {
    let row = Activation(
      buffer: try workspace.take(value.width), width: value.width, segments: Segments(lengths: [1]))
    row.floats.update(from: value.floats + (value.rows - 1) * value.width, count: value.width)
    return row
  }
}

extension Network {
  /// Changes where a sequence of another length has to be computed anew (rotary frequencies that depend on it).
  func regime(length: Int) -> Int {
    var hasher = 0
    for frequencies in plan.frequencies { hasher = hasher &* 1_000_003 &+ frequencies.regime(length: length) }
    return hasher
  }
}
