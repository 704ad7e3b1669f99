internal import EspalierBasics
internal import EspalierCheckpoints

/// Finds what has to leave together in a graph: every channel of every node is an element, what couples two channels joins
/// them, and what is joined in the end is one unit.
///
/// The groups are those that leave no trace: with all numbers of a unit at zero the network computes what it does without
/// the unit, if its operations send zero to zero and norms treat channels by themselves (the zero-invariant groups of
/// `chen2023otov2`).
struct CouplingTrace {
  private let parameters: [ExactString: Parameter]
  /// Parents in a forest of joined elements.
  private var parents: [Int] = []
  private var isFixed: [Bool] = []
  /// Where elements lie.
  private var places: [(element: Int, place: Place)] = []
  /// The element that a place got first: parameters that several nodes share couple what they carry.
  private var owners: [Place: Int] = [:]
  private var values: [String: [Int]] = [:]
  /// Channels of all values so far.
  private var channels = 0

  struct Place: Hashable {
    let parameter: String
    let dimension: Int
    let entry: Int
  }

  /// Elements of all nodes at most: a forged graph asks for no more memory than some hundred megabytes.
  private static let mostElements = 1 << 24

  static func units(of graph: CouplingGraph, in checkpoint: any Checkpoint) throws(Problems) -> [CoupledUnit] {
    var trace = CouplingTrace(parameters: checkpoint.parametersByName())
    var problems = Problems()
    do throws(Problem) {
      for input in graph.inputs { trace.values[input.name] = try trace.fresh(input.channels, isFixed: true) }
    } catch { throw Problems([error]) }
    for node in graph.nodes {
      do throws(Problem) {
        // What takes the channels of a node that could not be traced is not traced either.
        let entering = node.inputs.compactMap { trace.values[$0] }
        guard entering.count == node.inputs.count else { continue }
        try trace.require(channelsOf: node.operation, entering)
        trace.values[node.name] = try trace.output(of: node.operation, entering)
      } catch {
        problems.add(Problem(error.code, "node `\(node.name)`: \(error.message)", tensor: error.context.tensor))
      }
    }
    guard problems.errors.isEmpty else { throw problems }
    for output in graph.outputs {
      for element in trace.values[output] ?? [] { trace.isFixed[trace.root(element)] = true }
    }
    return trace.collected()
  }

  private init(parameters: [ExactString: Parameter]) { self.parameters = parameters }

  // MARK: - Operations

  private mutating func output(
    of operation: CouplingGraph.Operation, _ inputs: [[Int]]
  ) throws(Problem) -> [Int] {
    let input = inputs.first ?? []
    switch operation {
    case .linear(let weight, let bias, let isTurned):
      let matrix = try parameter(weight, dimensions: 2...2)
      let (outputs, columns) = isTurned ? (1, 0) : (0, 1)
      try require(matrix, dimension: columns, input.count)
      for (entry, element) in input.enumerated() { put(element, matrix, columns, entry) }
      return try made(matrix, outputs, bias: bias)
    case .convolution(let weight, let bias, let groups):
      return try convolution(input, weight, bias, groups)
    case .embedding(let weight):
      let matrix = try parameter(weight, dimensions: 2...2)
      return try made(matrix, 1, bias: nil)
    case .channelwise(let names):
      for name in names {
        let vector = try parameter(name, dimensions: 1...1)
        try require(vector, dimension: 0, input.count)
        for (entry, element) in input.enumerated() { put(element, vector, 0, entry) }
      }
      return input
    case .elementwise: return input
    case .together:
      for other in inputs.dropFirst() {
        guard other.count == input.count else {
          throw Problem(.restructuring, "\(input.count) and \(other.count) channels cannot be joined one by one")
        }
        for (a, b) in zip(input, other) { join(a, b) }
      }
      return input
    case .concatenation: return Array(inputs.joined())
    case .flatten(let positions):
      return input.flatMap { Array(repeating: $0, count: positions) }
    case .slice(let start, let count):
      guard start + count <= input.count else {
        throw Problem(.restructuring, "\(count) channels from \(start) on are more than the \(input.count) there are")
      }
      return Array(input[start..<start + count])
    case .attention(let heads, let keyValueHeads):
      return try attention(inputs, heads, keyValueHeads)
    }
  }

  /// Of several groups the same entries of their inputs and outputs leave, since the weight has one dimension for the inputs
  /// of all groups; where each group has one input, the output goes with it.
  private mutating func convolution(
    _ input: [Int], _ weight: String, _ bias: String?, _ groups: Int
  ) throws(Problem) -> [Int] {
    let filters = try parameter(weight, dimensions: 3...5)
    let perGroup = filters.shape[1]
    // Numbers of a file or a graph: their product may be beyond all integers.
    let fits = input.count % groups == 0 && input.count / groups == perGroup && filters.shape[0] % groups == 0
    guard fits else {
      throw Problem(
        .restructuring, "\(input.count) channels in \(groups) groups do not fit the shape \(filters.shape)",
        tensor: weight)
    }
    let outputs = try made(filters, 0, bias: bias)
    let outputsPerGroup = outputs.count / groups
    if groups > 1, perGroup == 1 {
      for (place, output) in outputs.enumerated() { join(output, input[place / outputsPerGroup]) }
      return outputs
    }
    for (place, element) in input.enumerated() {
      join(element, input[place % perGroup])
      put(element, filters, 1, place % perGroup)
    }
    if groups > 1 { for (place, output) in outputs.enumerated() { join(output, outputs[place % outputsPerGroup]) } }
    return outputs
  }

  /// A head of keys and values leaves with the heads of queries that read it, and with what it gives out.
  private mutating func attention(_ inputs: [[Int]], _ heads: Int, _ keyValueHeads: Int) throws(Problem) -> [Int] {
    guard inputs.allSatisfy({ !$0.isEmpty }), heads % keyValueHeads == 0, inputs[0].count % heads == 0,
      inputs[1].count % keyValueHeads == 0, inputs[2].count % keyValueHeads == 0,
      inputs[0].count / heads == inputs[1].count / keyValueHeads
    else {
      throw Problem(
        .restructuring,
        "\(inputs.map(\.count)) channels of queries, keys and values are not those of \(heads) heads, "
          + "which read \(keyValueHeads)")
    }
    let width = inputs[2].count / keyValueHeads
    for (input, count) in zip(inputs, [heads, keyValueHeads, keyValueHeads]) {
      let size = input.count / count
      for (place, element) in input.enumerated() {
        join(element, inputs[2][place / size / (count / keyValueHeads) * width])
      }
    }
    let queriesPerHead = heads / keyValueHeads
    return (0..<heads * width).map { inputs[2][$0 / width / queriesPerHead * width + $0 % width] }
  }

  // MARK: - Elements

  private static let tooLarge = Problem(.restructuring, "the graph has more than \(mostElements) channels")

  /// Counts the channels of a value before it is made.
  private mutating func require(channelsOf operation: CouplingGraph.Operation, _ inputs: [[Int]]) throws(Problem) {
    let entering = inputs.reduce(0) { $0 + $1.count }
    let factor = if case .flatten(let positions) = operation { positions } else { 1 }
    let (product, overflows) = entering.multipliedReportingOverflow(by: factor)
    guard !overflows, product <= Self.mostElements - channels else { throw Self.tooLarge }
    channels += product
  }

  private mutating func fresh(_ count: Int, isFixed: Bool = false) throws(Problem) -> [Int] {
    guard count <= Self.mostElements - parents.count else { throw Self.tooLarge }
    let elements = Array(parents.count..<parents.count + count)
    parents += elements
    self.isFixed += Array(repeating: isFixed, count: count)
    return elements
  }

  /// Elements for a dimension along which channels leave a map.
  private mutating func made(_ matrix: Parameter, _ dimension: Int, bias: String?) throws(Problem) -> [Int] {
    let elements = try fresh(matrix.shape[dimension])
    for (entry, element) in elements.enumerated() { put(element, matrix, dimension, entry) }
    if let bias {
      let vector = try parameter(bias, dimensions: 1...1)
      try require(vector, dimension: 0, elements.count)
      for (entry, element) in elements.enumerated() { put(element, vector, 0, entry) }
    }
    return elements
  }

  private func parameter(_ name: String, dimensions: ClosedRange<Int>) throws(Problem) -> Parameter {
    guard let found = parameters[ExactString(name)] else {
      throw Problem(.restructuring, "the model has no such parameter", tensor: name)
    }
    guard dimensions.contains(found.shape.count) else {
      throw Problem(.restructuring, "a shape like \(found.shape) is not what the operation takes", tensor: name)
    }
    return found
  }

  private func require(_ parameter: Parameter, dimension: Int, _ count: Int) throws(Problem) {
    guard parameter.shape[dimension] == count else {
      throw Problem(
        .restructuring, "\(count) channels do not fit dimension \(dimension) of \(parameter.shape)",
        tensor: parameter.name)
    }
  }

  private mutating func put(_ element: Int, _ parameter: Parameter, _ dimension: Int, _ entry: Int) {
    let place = Place(parameter: parameter.name, dimension: dimension, entry: entry)
    if let owner = owners[place] { return join(owner, element) }
    owners[place] = element
    places.append((element, place))
  }

  private mutating func root(_ element: Int) -> Int {
    var element = element
    while parents[element] != element {
      parents[element] = parents[parents[element]]
      element = parents[element]
    }
    return element
  }

  private mutating func join(_ a: Int, _ b: Int) {
    let (a, b) = (root(a), root(b))
    guard a != b else { return }
    // The earlier one, so that results do not depend on anything but the graph.
    parents[max(a, b)] = min(a, b)
    isFixed[min(a, b)] = isFixed[a] || isFixed[b]
  }

  private mutating func collected() -> [CoupledUnit] {
    var found: [Int: Set<Place>] = [:]
    var order: [Int] = []
    for (element, place) in places {
      let root = root(element)
      if found[root] == nil { order.append(root) }
      found[root, default: []].insert(place)
    }
    return order.sorted().map { CoupledUnit(found[$0] ?? [], isFixed: isFixed[$0]) }
  }
}
