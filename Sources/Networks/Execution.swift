internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierNumerics

/// One batch on its way through a network: its slots, and what was used to fill them.
final class Execution {
  let plan: Plan
  let run: OperationRun
  private(set) var slots: [SlotValue?]

  init(_ plan: Plan, run: OperationRun, inputs: [String: SlotValue]) {
    self.plan = plan
    self.run = run
    slots = Array(repeating: nil, count: plan.slots.count)
    for (name, value) in inputs { if let slot = plan.slot(name) { slots[slot] = value } }
  }

  /// Runs one section, whose parameters are let go then.
  ///
  /// - Parameter observe: called for every output of the section; the memory is the network's again when it returns.
  /// - Throws: `network.input` if the batch lacks something that the section reads.
  func run(
    _ section: Plan.Section, parameters: LoadedParameters,
    observe: ((String, Activation) throws(Problem) -> Void)? = nil
  ) throws(Problem) {
    run.parameters = parameters
    defer { run.parameters = LoadedParameters() }
    for step in section.steps { try run(step) }
    guard let observe else { return }
    for output in section.outputs { if let value = slots[output.slot]?.floats { try observe(output.name, value) } }
  }

  /// Runs a section as far as somebody looks at what enters its matrices; the last one is looked at and not applied.
  func show(_ section: Plan.Section, parameters: LoadedParameters, to observer: InputObserver) throws(Problem) {
    guard let last = section.steps.lastIndex(where: { observer.looks(at: $0.operation.matrices) }) else { return }
    run.parameters = parameters
    run.inputs = observer
    defer { (run.inputs, run.parameters) = (nil, LoadedParameters()) }
    for step in section.steps[..<last] { try run(step) }
    let step = section.steps[last]
    guard let map = step.operation as? MapOperation, case .floats(let x)? = slots[step.inputs[0]] else {
      return try run(step)
    }
    try observer.see(x, before: map.matrices)
  }

  private func run(_ step: Plan.Step) throws(Problem) {
    var inputs: [SlotValue] = []
    for slot in step.inputs {
      guard let value = slots[slot] else {
        throw Problem(.networkInput, "the network needs `\(plan.slots[slot])`, which was not given")
      }
      inputs.append(value)
    }
    let outputs = try step.run(inputs, isLastUse: step.isLastUse, run)
    release(step, inputs, keeping: outputs)
    for (slot, value) in zip(step.outputs, outputs) { slots[slot] = .floats(value) }
  }

  private func release(_ step: Plan.Step, _ inputs: [SlotValue], keeping outputs: [Activation]) {
    for (index, slot) in step.inputs.enumerated() where step.isLastUse[index] {
      slots[slot] = nil
      guard let value = inputs[index].floats else { continue }
      if !outputs.contains(where: { $0.sharesMemory(with: value) }) { run.workspace.giveBack(value) }
    }
    // A value that is overwritten without having been read here is not needed either.
    for slot in step.outputs {
      if let old = slots[slot]?.floats, !outputs.contains(where: { $0.sharesMemory(with: old) }) {
        run.workspace.giveBack(old)
      }
      slots[slot] = nil
    }
  }

  /// The same batch at the same place, with memory of its own.
  func copy() throws(Problem) -> Execution {
    let copy = Execution(plan, run: run, inputs: [:])
    for (slot, value) in slots.enumerated() {
      guard let activation = value?.floats else {
        copy.slots[slot] = value
        continue
      }
      let own = try run.workspace.take(activation.count)
      own.address.copyMemory(from: activation.buffer.address, byteCount: activation.count * MemoryLayout<Float>.stride)
      copy.slots[slot] = .floats(Activation(buffer: own, width: activation.width, segments: activation.segments))
    }
    return copy
  }

  /// Puts a value into a slot that has none, or takes one out without giving its memory back.
  func set(_ slot: Int, _ value: Activation?) { slots[slot] = value.map { .floats($0) } }

  func value(_ name: String) -> Activation? { plan.slot(name).flatMap { slots[$0]?.floats } }

  /// Gives all memory back.
  func finish() {
    for slot in slots.indices {
      if let value = slots[slot]?.floats { run.workspace.giveBack(value) }
      slots[slot] = nil
    }
  }
}

extension Plan.Step {
  /// Runs the operation on what its slots hold.
  ///
  /// - Parameter isLastUse: whether the memory of each input may take an output.
  /// - Throws: `network.program` for floats where the operation reads whole numbers or the other way round, which a plan
  ///   refuses; `network.input` for what the plan leaves to a run: pictures of several sizes that are brought together.
  func run(_ values: [SlotValue], isLastUse: [Bool], _ run: OperationRun) throws(Problem) -> [Activation] {
    let type = type(of: operation)
    var inputs: [Activation] = []
    (run.indices, run.isLastUse) = ([], [])
    for (place, value) in values.enumerated() {
      switch (value, type.readsIndices(input: place)) {
      case (.floats(let floats), false):
        inputs.append(floats)
        run.isLastUse.append(isLastUse[place])
      case (.indices(let indices), true): run.indices.append(indices)
      default: throw Problem(.networkProgram, "`\(source)` mixes up floats and whole numbers")
      }
      guard type.mixesRows || value.segments.rows == values[0].segments.rows else {
        throw Problem(
          .networkInput,
          "pictures of this size give \(values[0].segments.rows) and \(value.segments.rows) rows in `\(source)`")
      }
    }
    return try operation.run(inputs, run)
  }
}
