internal import EspalierArchitectures
internal import EspalierBasics

/// What an operation learns about its place in a network while it is made.
struct Binding {
  let statement: Statement
  /// The widths of the inputs; 1 for tokens.
  let inputWidths: [Int]
  let inputRows: [RowSpace]
  let description: ModelDescription
  /// What the operation sets: one width an output.
  var outputWidths: [Int] = []
  /// The rows of all outputs; nil: those of the first input.
  var outputRows: RowSpace?

  /// Parameters of the section so far.
  var requests: [ParameterRequest]
  /// Stateful operations of the network so far.
  var stateCount: Int
  /// Rotary frequencies of the network so far.
  var frequencies: [RotaryFrequencies]

  /// The number of inputs, checked.
  func expect(inputs count: Int) throws(Problem) {
    guard statement.inputs.count == count else {
      throw problem("takes \(count) inputs and has \(statement.inputs.count)")
    }
  }

  func problem(_ what: String) -> Problem {
    Problem(.networkProgram, "`\(statement.operation)` \(what), in `\(statement.source)`")
  }

  /// The shape the description gives a parameter, in canonical layout: `[out, in]` where it is stored transposed.
  func shape(_ label: String) -> [Int]? {
    statement.parameters[label]?.first.flatMap { name in
      description.parameter(named: name)?.canonicalShape
    }
  }

  private func name(_ label: String) throws(Problem) -> String {
    guard let name = statement.parameters[label]?.first else { throw problem("needs the parameter `\(label)`") }
    return name
  }

  /// A matrix, with the product of all dimensions but the first as its input width; a leading dimension of 1 is none.
  ///
  /// - Parameters: the numbers of outputs and inputs it must have.
  mutating func matrix(_ label: String = "weight", outputs: Int, inputs: Int) throws(Problem) -> MatrixHandle {
    try matrix(named: try name(label), outputs: outputs, inputs: inputs)
  }

  private mutating func matrix(named name: String, outputs: Int, inputs: Int) throws(Problem) -> MatrixHandle {
    let found = description.parameter(named: name)?.matrixShape ?? (rows: 0, columns: 0)
    guard found == (outputs, inputs) else {
      throw problem("needs a matrix of \(outputs) x \(inputs) in `\(name)`, which is \(found.rows) x \(found.columns)")
    }
    defer { requests.append(ParameterRequest(name: name, form: .matrix)) }
    return MatrixHandle(index: requests.count { $0.form == .matrix })
  }

  /// One matrix an expert, all of one shape.
  mutating func matrices(_ label: String, outputs: Int, inputs: Int) throws(Problem) -> [MatrixHandle] {
    _ = try name(label)
    var handles: [MatrixHandle] = []
    for name in statement.parameters[label] ?? [] {
      handles.append(try matrix(named: name, outputs: outputs, inputs: inputs))
    }
    return handles
  }

  /// A vector that must be there.
  ///
  /// - Parameter count: the number of elements it must have.
  mutating func vector(_ label: String = "weight", count: Int) throws(Problem) -> VectorHandle {
    let name = try name(label)
    let found = shape(label)?.reduce(1, *) ?? 0
    guard found == count else { throw problem("needs \(count) elements in `\(name)`, which has \(found)") }
    defer { requests.append(ParameterRequest(name: name, form: .vector)) }
    return VectorHandle(index: requests.count { $0.form == .vector })
  }

  /// A vector that this config may leave out.
  mutating func optionalVector(_ label: String, count: Int) throws(Problem) -> VectorHandle? {
    statement.parameters[label] == nil ? nil : try vector(label, count: count)
  }

  /// A place in the state of a sequence.
  mutating func state() -> Int {
    stateCount += 1
    return stateCount - 1
  }

  /// The place of rotary frequencies among those of the network, shared by equal ones.
  mutating func frequencies(_ new: RotaryFrequencies) -> Int {
    if let index = frequencies.firstIndex(of: new) { return index }
    frequencies.append(new)
    return frequencies.count - 1
  }
}
