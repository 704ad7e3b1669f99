internal import EspalierArchitectures
internal import EspalierBasics

/// A program made ready to run: operations in place of statements, numbers in place of slot names, and for every step
/// the slots that nobody needs after it.
struct Plan: Sendable {
  struct Step: Sendable {
    var operation: any Operation
    let inputs: [Int]
    var outputs: [Int]
    /// Whether the value of each input is used by nobody after this step.
    var isLastUse: [Bool]
    /// The line of the description, for messages.
    let source: String
  }

  struct Section: Sendable {
    /// Its place among the sections.
    let index: Int
    let tower: String
    let part: ModelProgram.Section.Part
    var steps: [Step]
    /// Names seen from outside, with their slots.
    let outputs: [(name: String, slot: Int)]
    let requests: [ParameterRequest]
    /// What the slots hold when it has run; those it does not know yet come later.
    let layouts: [SlotLayout]
    /// The input site of each matrix, by its handle; nil for a matrix whose site an earlier one shows, or that has none.
    let sites: [String?]
  }

  private(set) var sections: [Section] = []
  private(set) var slots: [String] = []
  /// What was last written to each slot.
  private var layouts: [SlotLayout] = []
  private(set) var stateCount = 0
  private(set) var frequencies: [RotaryFrequencies] = []
  /// The widest row of any slot before the heads.
  private(set) var widest = 1
  /// Slots whose statement was left out, each with the optional parameter that it lacked.
  private var missing: [String: String] = [:]
  /// Input sites that some matrix shows.
  private var sites: Set<ExactString> = []

  /// - Parameter isStored: whether the checkpoint has a parameter. What needs an optional one that is missing is left
  ///   out, and what needs its result.
  /// - Throws: `network.parameter` if that would leave out a parameter that must be there, as a pooler would the
  ///   classifier behind it.
  init(_ program: ModelProgram, isStored: (String) throws(Problem) -> Bool) throws(Problem) {
    for section in program.sections { try append(section, of: program, isStored) }
    markLastUses()
  }

  func slot(_ name: String) -> Int? { slots.firstIndex(of: name) }

  private mutating func append(
    _ section: ModelProgram.Section, of program: ModelProgram, _ isStored: (String) throws(Problem) -> Bool
  ) throws(Problem) {
    var steps: [Step] = []
    var requests: [ParameterRequest] = []
    for statement in section.statements {
      guard let type = Operations.named(statement.operation) else {
        throw Problem(
          .networkProgram, "there is no operation `\(statement.operation)`, in `\(statement.source)`",
          remedy: "Known are \(Operations.all.map { $0.name }.joined(separator: ", ")).")
      }
      if let name = try whatIsMissing(for: statement, of: program, isStored) {
        for output in statement.outputs { missing[output] = name }
        continue
      }
      for output in statement.outputs { missing[output] = nil }
      var inputs: [Int] = []
      for name in statement.inputs { inputs.append(try read(name, statement)) }
      let read = inputs.map { layouts[$0] }
      try check(read, of: statement, for: type)
      var binding = Binding(
        statement: statement, inputWidths: read.map { $0.width ?? 0 }, inputRows: read.map(\.rows),
        description: program.description, requests: requests, stateCount: stateCount, frequencies: frequencies)
      let operation = try type.init(&binding)
      (requests, stateCount, frequencies) = (binding.requests, binding.stateCount, binding.frequencies)
      guard binding.outputWidths.count == statement.outputs.count else {
        throw binding.problem("has \(binding.outputWidths.count) outputs")
      }
      guard let rows = binding.outputRows ?? binding.inputRows.first else { throw binding.problem("needs an input") }
      var outputs: [Int] = []
      for (name, width) in zip(statement.outputs, binding.outputWidths) {
        guard (1...SlotLayout.widest).contains(width) else { throw binding.problem("would make rows of \(width)") }
        guard SlotLayout.batch[name] == nil else {
          throw binding.problem("cannot write to `\(name)`, which is an input")
        }
        outputs.append(write(name, SlotLayout(width: width, rows: rows)))
        if section.part != .head { widest = max(widest, width) }
      }
      steps.append(
        Step(operation: operation, inputs: inputs, outputs: outputs, isLastUse: [], source: statement.source))
    }
    steps = joinMaps(steps)
    var named: [(name: String, slot: Int)] = []
    for output in section.outputs where missing[output.slot] == nil {
      guard let slot = slot(output.slot) else { continue }
      guard !layouts[slot].holdsIndices else {
        throw Problem(.networkProgram, "the slot `\(output.slot)` holds whole numbers and cannot be an output")
      }
      named.append((output.name, slot))
    }
    sections.append(
      Section(
        index: sections.count, tower: section.tower, part: section.part, steps: steps, outputs: named,
        requests: requests, layouts: layouts, sites: sites(of: requests, in: program.description)))
  }

  /// The input sites that matrices show, each by the first matrix it has.
  private mutating func sites(of requests: [ParameterRequest], in description: ModelDescription) -> [String?] {
    requests.filter { $0.form == .matrix }.map { request in
      guard let site = description.parameter(named: request.name)?.inputSite else { return nil }
      return sites.insert(ExactString(site)).inserted ? site : nil
    }
  }

  /// What every operation may rely on: its inputs are of the kind it reads, as wide as is known, and of the same rows
  /// unless it says that it takes others.
  private func check(
    _ inputs: [SlotLayout], of statement: Statement, for type: any Operation.Type
  ) throws(Problem) {
    func problem(_ what: String) -> Problem { Problem(.networkProgram, "\(what), in `\(statement.source)`") }
    for (place, input) in inputs.enumerated() {
      let name = statement.inputs[place]
      guard type.readsIndices(input: place) == input.holdsIndices else {
        let (found, wanted) = input.holdsIndices ? ("whole numbers", "floats") : ("floats", "whole numbers")
        throw problem("the slot `\(name)` holds \(found) where \(wanted) belong")
      }
      guard input.width != nil || type.takesAnyWidth else {
        throw problem("`\(name)` has as many channels as its pictures, which only a convolution can take")
      }
      guard type.mixesRows || input.rows == inputs[0].rows else {
        throw problem("`\(statement.operation)` gets rows \(inputs[0].rows) and rows \(input.rows)")
      }
    }
  }

  /// What a slot holds when `sections` have run, if they or a batch fill it.
  func layout(of name: String, after sections: some Collection<Section>) -> SlotLayout? {
    guard let slot = slot(name) else { return nil }
    return sections.reduce(nil) { $1.layouts.indices.contains(slot) ? $1.layouts[slot] : $0 }
  }

  /// Whether all heads come last, so that they can be run by themselves, and read nothing but the slot `name` and what
  /// they write.
  func headsRead(only name: String) -> Bool {
    var known = Set([slot(name)].compactMap(\.self))
    let first = sections.firstIndex { $0.part == .head } ?? sections.count
    return sections[first...].allSatisfy { section in
      section.part == .head
        && section.steps.allSatisfy { step in
          defer { known.formUnion(step.outputs) }
          return known.isSuperset(of: step.inputs) && !(step.operation is any SequenceOperation)
        }
    }
  }

  /// Maps of one input that follow each other become one step: queries, keys and values; gate and up.
  private func joinMaps(_ steps: [Step]) -> [Step] {
    var joined: [Step] = []
    for step in steps {
      if let map = step.operation as? MapOperation, let before = joined.last?.operation as? MapOperation,
        let last = joined.last, last.inputs == step.inputs,
        Set(last.outputs + step.inputs).isDisjoint(with: step.outputs), !last.outputs.contains(step.inputs[0])
      {
        joined[joined.count - 1].operation = before.joined(with: map)
        joined[joined.count - 1].outputs += step.outputs
      } else {
        joined.append(step)
      }
    }
    return joined
  }

  /// The optional parameter that the checkpoint lacks and without which the statement has to be left out.
  private func whatIsMissing(
    for statement: Statement, of program: ModelProgram, _ isStored: (String) throws(Problem) -> Bool
  ) throws(Problem) -> String? {
    var lacking = statement.inputs.lazy.compactMap { missing[$0] }.first
    var required = false
    for name in statement.parameters.values.flatMap(\.self) {
      guard program.description.parameter(named: name)?.isOptional ?? false else {
        required = true
        continue
      }
      if lacking == nil, !(try isStored(name)) { lacking = name }
    }
    if let lacking, required {
      throw Problem(
        .networkParameter, "the network needs `\(lacking)`, which the checkpoint does not have", tensor: lacking)
    }
    return lacking
  }

  private mutating func read(_ name: String, _ statement: Statement) throws(Problem) -> Int {
    if let slot = slot(name) { return slot }
    guard let layout = SlotLayout.batch[name] else {
      throw Problem(.networkProgram, "nothing was written to the slot `\(name)` before `\(statement.source)`")
    }
    return write(name, layout)
  }

  private mutating func write(_ name: String, _ layout: SlotLayout) -> Int {
    if let slot = slot(name) {
      layouts[slot] = layout
      return slot
    }
    slots.append(name)
    layouts.append(layout)
    return slots.count - 1
  }

  /// Walks backwards: a value is needed where a later step reads its slot before another step writes it, or where its
  /// section gives it out.
  private mutating func markLastUses() {
    var needed = Set<Int>()
    for section in sections.indices.reversed() {
      needed.formUnion(sections[section].outputs.map(\.slot))
      for step in sections[section].steps.indices.reversed() {
        let (inputs, outputs) = (sections[section].steps[step].inputs, sections[section].steps[step].outputs)
        needed.subtract(outputs)
        // A slot that is an input twice is used up only once.
        sections[section].steps[step].isLastUse = inputs.indices.map { index in
          !needed.contains(inputs[index]) && !inputs[(index + 1)...].contains(inputs[index])
        }
        needed.formUnion(inputs)
      }
    }
  }
}
