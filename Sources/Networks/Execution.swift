internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierNumerics

/// One batch on its way through a network: its slots, and what was used to fill them.
final class Execution {
  let plan: Plan
  let run: OperationRun
  private(set) var slots: [Activation?]

  init(_ plan: Plan, run: OperationRun, inputs: [String: Activation]) {
    self.plan = plan
    self.run = run
    slots = Array(repeating: nil, count: plan.slots.count)
    for (name, activation) in inputs { if let slot = plan.slot(name) { slots[slot] = activation } }
  }

  /// Runs one section.
  ///
  /// - Parameter observe: called for every output of the section; the memory is the network's again when it returns.
  /// - Throws: `network.input` if the batch lacks something that the section reads.
  func run(
    _ section: Plan.Section, parameters: LoadedParameters,
    observe: ((String, Activation) throws(Problem) -> Void)? = nil
  ) throws(Problem) {
    run.parameters = parameters
    for step in section.steps {
      var inputs: [Activation] = []
      for slot in step.inputs {
        guard let value = slots[slot] else {
          throw Problem(.networkInput, "the network needs `\(plan.slots[slot])`, which was not given")
        }
        inputs.append(value)
      }
      try step.checkRows(inputs)
      run.isLastUse = step.isLastUse
      let outputs = try step.operation.run(inputs, run)
      release(step, inputs, keeping: outputs)
      for (slot, value) in zip(step.outputs, outputs) { slots[slot] = value }
    }
    guard let observe else { return }
    for output in section.outputs { if let value = slots[output.slot] { try observe(output.name, value) } }
  }

  private func release(_ step: Plan.Step, _ inputs: [Activation], keeping outputs: [Activation]) {
    for (index, slot) in step.inputs.enumerated() where step.isLastUse[index] {
      slots[slot] = nil
      if !outputs.contains(where: { $0.sharesMemory(with: inputs[index]) }) { run.workspace.giveBack(inputs[index]) }
    }
    // A value that is overwritten without having been read here is not needed either.
    for slot in step.outputs {
      if let old = slots[slot], !outputs.contains(where: { $0.sharesMemory(with: old) }) { run.workspace.giveBack(old) }
      slots[slot] = nil
    }
  }

  /// The same batch at the same place, with memory of its own.
  func copy() throws(Problem) -> Execution {
    let copy = Execution(plan, run: run, inputs: [:])
    for (slot, value) in slots.enumerated() {
      guard let value, case .floats(let buffer) = value.storage else {
        copy.slots[slot] = value
        continue
      }
      let own = try run.workspace.take(value.count)
      own.address.copyMemory(from: buffer.address, byteCount: value.count * MemoryLayout<Float>.stride)
      copy.slots[slot] = Activation(storage: .floats(own), width: value.width, segments: value.segments)
    }
    return copy
  }

  /// Puts a value into a slot that has none, or takes one out without giving its memory back.
  func set(_ slot: Int, _ value: Activation?) { slots[slot] = value }

  func value(_ name: String) -> Activation? { plan.slot(name).flatMap { slots[$0] } }

  /// Gives all memory back.
  func finish() {
    for slot in slots.indices {
      if let value = slots[slot] { run.workspace.giveBack(value) }
      slots[slot] = nil
    }
  }
}

extension Plan.Step {
  /// What the plan leaves to a run: whether pictures that are brought together are of one size.
  ///
  /// - Throws: `network.input` if they are not.
  func checkRows(_ inputs: [Activation]) throws(Problem) {
    for input in inputs.dropFirst() where !type(of: operation).mixesRows && input.rows != inputs[0].rows {
      throw Problem(.networkInput, "pictures of this size give \(inputs[0].rows) and \(input.rows) rows in `\(source)`")
    }
  }
}

extension Activation {
  func sharesMemory(with other: Activation) -> Bool {
    guard case .floats(let a) = storage, case .floats(let b) = other.storage else { return false }
    return a === b
  }
}
