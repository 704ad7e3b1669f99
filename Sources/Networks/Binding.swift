internal import EspalierArchitectures
internal import EspalierBasics

/// What an operation learns about its place in a network while it is made.
struct Binding {
  let statement: Statement
  /// The widths of the inputs; 1 for tokens.
  let inputWidths: [Int]
  let description: ModelDescription
  /// What the operation sets: one width an output.
  var outputWidths: [Int] = []

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
      description.parameter(named: name).map { parameter in
        guard parameter.recipe.isTransposed else { return parameter.shape }
        var shape = parameter.shape
        shape.swapAt(shape.count - 1, shape.count - 2)
        return shape
      }
    }
  }

  private func name(_ label: String) throws(Problem) -> String {
    guard let name = statement.parameters[label]?.first else { throw problem("needs the parameter `\(label)`") }
    return name
  }

  private mutating func request(_ request: ParameterRequest) -> Int {
    requests.append(request)
    return requests.count - 1
  }

  /// A matrix, with the product of all dimensions but the first as its input width.
  mutating func matrix(_ label: String = "weight") throws(Problem) -> MatrixHandle {
    MatrixHandle(index: request(ParameterRequest(name: try name(label), form: .matrix)))
  }

  /// One matrix an expert.
  mutating func matrices(_ label: String) throws(Problem) -> [MatrixHandle] {
    _ = try name(label)
    var handles: [MatrixHandle] = []
    for name in statement.parameters[label] ?? [] {
      handles.append(MatrixHandle(index: request(ParameterRequest(name: name, form: .matrix))))
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
    return VectorHandle(index: request(ParameterRequest(name: name, form: .vector)))
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
