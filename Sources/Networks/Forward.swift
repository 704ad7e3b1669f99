internal import EspalierArchitectures
public import EspalierBasics

extension Network {
  /// Runs the whole network on one batch and returns what its program names: `logits`, `last_hidden_state`, `pooled`,
  /// `final`, and with `hiddenStates` also `embed`, `layer.N`, `decoder_layer.N`.
  ///
  /// - Throws: `network.input` for what does not fit the network.
  public func forward(_ inputs: NetworkInputs, hiddenStates: Bool = false) throws(Problem) -> [NetworkOutput] {
    let slots = try inputs.activations(skipping: program.positionsSkip)
    if let slot = plan.slots.first(where: { SlotLayout.batch[$0] != nil && slots[$0] == nil }) {
      throw Problem(
        .networkInput, "the network needs `\(NetworkInputs.tensorName(ofSlot: slot))`, which was not given")
    }
    let length = inputs.tokens.map(\.count).max() ?? 0
    let decoderLength = inputs.decoderTokens?.map(\.count).max() ?? 0
    let decoderSegments = slots["decoderTokens"]?.segments
    var outputs: [NetworkOutput] = []
    try withWorkspace { (workspace) throws(Problem) in
      let execution = Execution(plan, run: operationRun(workspace), inputs: slots)
      for section in plan.sections {
        let isInner = section.part == .before || section.isLayer
        try execution.run(section, parameters: try parameters(of: section)) { (name, value) throws(Problem) in
          // The layers of some families are towers of their own.
          guard hiddenStates || !(isInner || name.hasPrefix("layer.")) else { return }
          let isDecoder = decoderSegments.map { $0 === value.segments } ?? false
          // Rows that are not those of the tokens (patches of pictures) are all there are.
          let own = inputs.tokens.isEmpty ? value.segments.rows / max(1, value.segments.count) : length
          outputs.append(NetworkOutput(name, value, length: isDecoder ? decoderLength : own))
        }
      }
      execution.finish()
    }
    return outputs
  }
}

extension Plan.Section {
  var isLayer: Bool { if case .layer = part { true } else { false } }
}
