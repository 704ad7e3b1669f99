internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierNumerics

/// A decoder text that grows over one encoder text: the encoder runs once, and a further token costs one token.
///
/// In exact mode the logits are, to the bit, those of running the whole text at once. Used by one call at a time.
public final class EncoderDecoderSession: TokenSession, @unchecked Sendable {
  public let model: EncoderDecoderModel
  /// The decoder's text so far.
  public private(set) var tokens: [Int32] = []
  private var state: SequenceState
  /// Slots that hold what does not depend on the decoder's text.
  private var slots: [SlotValue?]
  /// Outputs of decoder steps that do not depend on it either, kept from the first run on, by section and step: keys and
  /// values of the encoder's states, biases by distance.
  private var kept: [[[Activation]?]]
  private let depends: [[Bool]]

  /// Runs the encoder on `source`.
  ///
  /// - Throws: `network.input` for tokens the model does not have, or none; what reading weights throws.
  public init(_ model: EncoderDecoderModel, source: [Int32]) throws(Problem) {
    self.model = model
    let network = model.network
    state = network.emptyState()
    depends = EncoderDecoderSession.dependence(of: model.decoder, on: network.plan.slot("decoderTokens"))
    kept = model.decoder.map { Array(repeating: nil, count: $0.steps.count) }
    let inputs = try NetworkInputs(tokens: [source]).activations(skipping: network.program.positionsSkip)
    slots = []
    try network.withWorkspace { (workspace) throws(Problem) in
      let execution = Execution(network.plan, run: network.operationRun(workspace), inputs: inputs)
      try network.run(model.encoder, [execution]) { (_, execution) throws(Problem) in slots = execution.slots }
    }
  }

  /// For each step whether anything it reads comes from `slot`.
  private static func dependence(of sections: [Plan.Section], on slot: Int?) -> [[Bool]] {
    var changing = Set([slot].compactMap(\.self))
    return sections.map { section in
      section.steps.map { step in
        let depends = !changing.isDisjoint(with: step.inputs)
        if depends { changing.formUnion(step.outputs) } else { changing.subtract(step.outputs) }
        return depends
      }
    }
  }

  /// Reads tokens of the decoder's text, of which the first should be the model's start token, and returns the logits for
  /// what follows the last.
  ///
  /// - Throws: `network.input` if there are none, or one is not in the vocabulary: nothing was read then. What reading
  ///   weights throws; the decoder's text is empty then.
  public func read(_ new: [Int32]) throws(Problem) -> [Float] {
    guard !new.isEmpty else { throw Problem(.networkInput, "there is no token to read") }
    if let wrong = new.first(where: { !(0..<model.vocabularySize).contains(Int($0)) }) {
      throw Problem(.networkInput, "\(wrong) is not among the \(model.vocabularySize) tokens the model has")
    }
    do throws(Problem) {
      let logits = try extend(by: new)
      try checkLogits(logits)
      tokens += new
      return logits
    } catch {
      tokens = []
      state = model.network.emptyState()
      throw error
    }
  }

  private func extend(by new: [Int32]) throws(Problem) -> [Float] {
    let network = model.network
    let first = Int32(clamping: tokens.count)
    let segments = Segments(starts: [0, new.count], positions: new.indices.map { first + Int32($0) })
    var logits = [Float](repeating: 0, count: model.vocabularySize)
    try network.withWorkspace { (workspace) throws(Problem) in
      let run = network.operationRun(workspace, states: [state])
      let final = try decode(IndexRows(values: new, segments: segments), run)
      let row = Activation(
        buffer: try workspace.take(final.width), width: final.width, segments: Segments(lengths: [1]))
      row.floats.update(from: final.floats + (final.rows - 1) * final.width, count: final.width)
      workspace.giveBack(final)
      let head = Execution(network.plan, run: network.operationRun(workspace), inputs: ["final": .floats(row)])
      try network.run(network.heads, [head]) { (_, head) throws(Problem) in
        if let value = head.value("logits") { logits = Array(value.view) }
        head.finish()
      }
    }
    return logits
  }

  /// Runs the decoder on further tokens; what does not depend on them is computed once and left where it is.
  private func decode(_ text: IndexRows, _ run: OperationRun) throws(Problem) -> Activation {
    let plan = model.network.plan
    var slots = self.slots
    var isKept = slots.map { $0 != nil }
    if let slot = plan.slot("decoderTokens") { (slots[slot], isKept[slot]) = (.indices(text), true) }
    for (number, section) in model.decoder.enumerated() {
      run.parameters = try model.network.parameters(of: section)
      for (index, step) in section.steps.enumerated() {
        let inputs = step.inputs.compactMap { slots[$0] }
        guard inputs.count == step.inputs.count else {
          throw Problem(.networkProgram, "`\(step.source)` reads what the encoder does not give")
        }
        let outputs: [Activation]
        if depends[number][index] {
          let isLastUse = zip(step.inputs, step.isLastUse).map { $1 && !isKept[$0] }
          outputs = try step.run(inputs, isLastUse: isLastUse, run)
          for (input, isLast) in zip(inputs.map(\.floats), isLastUse) where isLast {
            if let input, !outputs.contains(where: { $0.sharesMemory(with: input) }) { run.workspace.giveBack(input) }
          }
        } else if let known = kept[number][index] {
          outputs = known
        } else {
          outputs = try step.run(inputs, isLastUse: step.inputs.map { _ in false }, run)
          kept[number][index] = outputs
        }
        for (slot, value) in zip(step.outputs, outputs) {
          (slots[slot], isKept[slot]) = (.floats(value), !depends[number][index])
        }
      }
    }
    guard let final = plan.slot("final").flatMap({ slots[$0]?.floats }) else {
      throw Problem(.networkProgram, "the decoder writes no `final`")
    }
    return final
  }
}
