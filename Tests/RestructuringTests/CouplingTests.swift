import EspalierBasics
import EspalierCheckpoints
import EspalierRestructuring
import TestSupport
import Testing

@Suite struct CouplingTests {
  /// A network by its graph and the shapes of its parameters.
  struct Example: Sendable, CustomTestStringConvertible {
    let name: String
    let graph: String
    let shapes: [(String, [Int])]
    let positions: Int
    /// Units of groups that may leave, in their order.
    let units: [Int]
    var testDescription: String { name }
  }

  static let examples = [
    Example(
      name: "a perceptron",
      graph: """
        {"inputs": {"x": 3}, "nodes": [
          {"name": "a", "op": "linear", "input": "x", "weight": "a", "bias": "ab"},
          {"name": "r", "op": "elementwise", "input": "a"},
          {"name": "b", "op": "linear", "input": "r", "weight": "b", "turned": true},
          {"name": "c", "op": "linear", "input": "b", "weight": "c"}], "outputs": ["c"]}
        """, shapes: [("a", [5, 3]), ("ab", [5]), ("b", [5, 4]), ("c", [2, 4])], positions: 1, units: [5, 4]),
    Example(
      name: "a residual network with a depthwise convolution and a flattened head",
      graph: """
        {"inputs": {"x": 2}, "nodes": [
          {"name": "a", "op": "conv", "input": "x", "weight": "a", "bias": "ab"},
          {"name": "n", "op": "norm", "input": "a", "parameters": ["nw", "nb", "nm", "nv"]},
          {"name": "r", "op": "elementwise", "input": "n"},
          {"name": "d", "op": "conv", "input": "r", "weight": "d", "groups": 6},
          {"name": "e", "op": "conv", "input": "d", "weight": "e"},
          {"name": "q", "op": "elementwise", "input": "e"},
          {"name": "f", "op": "conv", "input": "q", "weight": "f"},
          {"name": "s", "op": "add", "inputs": ["f", "r"]},
          {"name": "v", "op": "flatten", "input": "s", "positions": 4},
          {"name": "o", "op": "linear", "input": "v", "weight": "o", "bias": "ob"}], "outputs": ["o"]}
        """,
      shapes: [
        ("a", [6, 2, 3]), ("ab", [6]), ("nw", [6]), ("nb", [6]), ("nm", [6]), ("nv", [6]), ("d", [6, 1, 3]),
        ("e", [5, 6, 1]), ("f", [6, 5, 1]), ("o", [3, 24]), ("ob", [3]),
      ], positions: 4, units: [6, 5]),
    Example(
      name: "a dense network: what is computed stays beside what it was computed from",
      graph: """
        {"inputs": {"x": 2}, "nodes": [
          {"name": "a", "op": "conv", "input": "x", "weight": "a"},
          {"name": "b", "op": "conv", "input": "a", "weight": "b"},
          {"name": "ab", "op": "concat", "inputs": ["a", "b"]},
          {"name": "n", "op": "norm", "input": "ab", "parameters": ["nw", "nb"]},
          {"name": "c", "op": "conv", "input": "n", "weight": "c"},
          {"name": "tail", "op": "slice", "input": "c", "start": 1, "count": 3},
          {"name": "o", "op": "conv", "input": "tail", "weight": "o"}], "outputs": ["o"]}
        """,
      shapes: [("a", [3, 2, 3]), ("b", [4, 3, 3]), ("nw", [7]), ("nb", [7]), ("c", [4, 7, 1]), ("o", [2, 3, 1])],
      positions: 3, units: [3, 4, 1, 3]),
    Example(
      name: "grouped convolutions: the same place of every group",
      graph: """
        {"inputs": {"x": 2}, "nodes": [
          {"name": "a", "op": "conv", "input": "x", "weight": "a"},
          {"name": "g", "op": "conv", "input": "a", "weight": "g", "groups": 2},
          {"name": "o", "op": "conv", "input": "g", "weight": "o"}], "outputs": ["o"]}
        """, shapes: [("a", [6, 2, 1]), ("g", [4, 3, 3]), ("o", [2, 4, 1])], positions: 3, units: [3, 2]),
    Example(
      name: "a matrix that two nodes share: what they make leaves together",
      graph: """
        {"inputs": {"x": 3}, "nodes": [
          {"name": "a", "op": "linear", "input": "x", "weight": "a"},
          {"name": "r", "op": "elementwise", "input": "a"},
          {"name": "b", "op": "linear", "input": "r", "weight": "b"},
          {"name": "c", "op": "linear", "input": "b", "weight": "a"},
          {"name": "ac", "op": "concat", "inputs": ["r", "c"]},
          {"name": "o", "op": "linear", "input": "ac", "weight": "o"}], "outputs": ["o"]}
        """, shapes: [("a", [4, 3]), ("b", [3, 4]), ("o", [2, 8])], positions: 1, units: [4]),
    Example(
      name: "attention whose heads share keys and values",
      graph: """
        {"inputs": {"x": 3}, "nodes": [
          {"name": "q", "op": "linear", "input": "x", "weight": "q"},
          {"name": "k", "op": "linear", "input": "x", "weight": "k"},
          {"name": "v", "op": "linear", "input": "x", "weight": "v"},
          {"name": "h", "op": "attention", "inputs": ["q", "k", "v"], "heads": 4, "keyValueHeads": 2},
          {"name": "o", "op": "linear", "input": "h", "weight": "o"},
          {"name": "s", "op": "add", "inputs": ["o", "x"]}], "outputs": ["s"]}
        """, shapes: [("q", [8, 3]), ("k", [4, 3]), ("v", [6, 3]), ("o", [3, 12])], positions: 4, units: [2]),
  ]

  /// The zero-invariance of groups: zeros in place of a unit give what the network without it gives.
  @Test("A unit at zero is a unit that left", arguments: examples)
  func unitsLeaveNoTrace(_ example: Example) throws {
    try withTemporaryFolder { folder in
      var generator = SeededGenerator(seed: 7)
      var network = TinyGraph(graph: try CouplingGraph(parsing: JSON(parsing: example.graph)), tensors: [:])
      for (name, shape) in example.shapes {
        // Variances must be positive.
        let values = (0..<shape.reduce(1, *)).map { _ in Double.random(in: -1...1, using: &generator) }
        network.tensors[name] = .init(shape: shape, values: name == "nv" ? values.map { abs($0) + 0.5 } : values)
      }
      try TestTensor.write(
        example.shapes.map { TestTensor($0.0, $0.1, network.tensors[$0.0]!.values.map { Float($0) }) },
        to: "\(folder)/model.safetensors")
      let checkpoint = try SafetensorsCheckpoint(at: "\(folder)/model.safetensors")
      let groups = try CoupledGroup.traced(network.graph, in: checkpoint)
      #expect(groups.filter { !$0.isFixed }.map(\.units.count) == example.units)
      let inputs = Dictionary(
        uniqueKeysWithValues: network.graph.inputs.map { input in
          (
            input.name,
            (0..<input.channels).map { _ in
              (0..<example.positions).map { _ in Double.random(in: -1...1, using: &generator) }
            }
          )
        })
      let whole = network.outputs(of: inputs)
      var changes = 0
      for (group, unit) in groups.filter({ !$0.isFixed }).flatMap({ group in group.units.map { (group, $0) } }) {
        let (zeroed, smaller) = try without(unit, network, checkpoint)
        let (expected, found) = (zeroed.outputs(of: inputs), smaller.outputs(of: inputs))
        changes += expected == whole ? 0 : 1
        for (a, b) in zip(expected.joined().joined(), found.joined().joined()) { #expect(abs(a - b) < 1e-5) }
        #expect(expected.joined().joined().count == found.joined().joined().count)
        #expect(group.numbersPerUnit(in: checkpoint) == network.size - smaller.size)
      }
      // Some are silent on these inputs, behind a rectifier; most are not.
      #expect(changes * 2 > example.units.reduce(0, +))
    }
  }

  private func without(
    _ unit: CoupledUnit, _ network: TinyGraph, _ checkpoint: any Checkpoint
  ) throws -> (zeroed: TinyGraph, smaller: TinyGraph) {
    var (zeroed, smaller) = (network, network)
    for (name, selection) in try checkpoint.selections(without: [unit]) {
      let tensor = network.tensors[name.text]!
      var kept: [Double] = []
      for index in tensor.values.indices {
        var (rest, stays) = (index, true)
        for dimension in tensor.shape.indices.reversed() {
          let entry = rest % tensor.shape[dimension]
          rest /= tensor.shape[dimension]
          if let entries = selection.entries[dimension], !entries.contains(entry) { stays = false }
        }
        if stays { kept.append(tensor.values[index]) } else { zeroed.tensors[name.text]!.values[index] = 0 }
      }
      smaller.tensors[name.text] = .init(shape: selection.takenShape, values: kept)
    }
    let graph = network.graph
    // Without a unit there are fewer groups or heads where those are what leaves.
    smaller = TinyGraph(
      graph: CouplingGraph(
        inputs: graph.inputs,
        nodes: graph.nodes.map {
          .init(name: $0.name, operation: adjusted($0.operation, in: smaller), inputs: $0.inputs)
        },
        outputs: graph.outputs), tensors: smaller.tensors)
    return (zeroed, smaller)
  }

  private func adjusted(_ operation: CouplingGraph.Operation, in smaller: TinyGraph) -> CouplingGraph.Operation {
    switch operation {
    case .convolution(let weight, let bias, 6):
      .convolution(weight: weight, bias: bias, groups: smaller.tensors[weight]!.shape[0])
    case .attention:
      .attention(heads: smaller.tensors["q"]!.shape[0] / 2, keyValueHeads: smaller.tensors["k"]!.shape[0] / 2)
    case .slice:
      .slice(
        start: smaller.tensors["c"]!.shape[0] - smaller.tensors["o"]!.shape[1], count: smaller.tensors["o"]!.shape[1])
    default: operation
    }
  }

  /// Forty nodes, each twice the one before.
  private static let doubling = (1...40).map {
    #"{"name": "\#($0)", "op": "concat", "inputs": ["\#($0 - 1)", "\#($0 - 1)"]}"#
  }.joined(separator: ", ")

  @Test(
    "Graphs that would take all memory, numbers beyond integers and shapes of nothing are refused",
    arguments: [
      (
        #""y": 9223372036854775807"#, #"{"name": "a", "op": "elementwise", "input": "0"}"#,
        "more than 16777216 channels"
      ),
      (
        #""y": 1"#, #"{"name": "a", "op": "flatten", "input": "0", "positions": 2147483647}"#,
        "more than 16777216 channels"
      ),
      (#""y": 1"#, doubling, "more than 16777216 channels"),
      (
        #""y": 1"#, #"{"name": "a", "op": "conv", "input": "0", "weight": "c", "groups": 2147483647}"#,
        "do not fit the shape"
      ),
      (
        #""y": 1"#,
        #"{"name": "e", "op": "linear", "input": "0", "weight": "none"}, "#
          + #"{"name": "a", "op": "attention", "inputs": ["0", "0", "e"], "heads": 2}"#, "are not those of 2 heads"
      ),
    ])
  func forgedGraphs(inputs: String, nodes: String, message: String) throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/m.safetensors"
      try TestTensor.write(
        [TestTensor("c", [2, 4, 1], [Float](repeating: 1, count: 8)), TestTensor("none", [0, 4], [])], to: path)
      let graph = try CouplingGraph(
        parsing: JSON(parsing: #"{"inputs": {"0": 4, \#(inputs)}, "nodes": [\#(nodes)], "outputs": ["0"]}"#))
      let checkpoint = try SafetensorsCheckpoint(at: path)
      let found = problems { try CoupledGroup.traced(graph, in: checkpoint) }
      #expect(found.contains { $0.message.contains(message) }, "\(found)")
    }
  }

  @Test("What does not fit is told, all at once")
  func mistakes() throws {
    let json = try JSON(
      parsing: """
        {"inputs": {"x": 0}, "nodes": [
          {"name": "a", "op": "linear", "input": "y", "weight": "a"}, {"name": "a", "op": "melt", "input": "x"},
          {"op": "add"}, {"name": "b", "op": "conv", "input": "a"}], "outputs": ["z"]}
        """)
    let text = problems { try CouplingGraph(parsing: json) }.map(\.description).joined()
    for expected in [
      "input `x` needs its number of channels", "`a` takes `y`", "`a` is there twice",
      "`op` melt is none of linear, conv",
      "node 2 has no `name`", "node `b`: it needs `weight`", "no node is called `z`",
    ] {
      #expect(text.contains(expected), "\(text)")
    }
    try withTemporaryFolder { folder in
      try TestTensor.write([TestTensor("a", [2, 3], [Float](repeating: 1, count: 6))], to: "\(folder)/m.safetensors")
      let checkpoint = try SafetensorsCheckpoint(at: "\(folder)/m.safetensors")
      let graph = try CouplingGraph(
        parsing: JSON(
          parsing: """
            {"inputs": {"x": 4}, "nodes": [
              {"name": "a", "op": "linear", "input": "x", "weight": "a"},
              {"name": "b", "op": "linear", "input": "x", "weight": "gone"}], "outputs": ["a"]}
            """))
      let found = problems { try CoupledGroup.traced(graph, in: checkpoint) }.map(\.message)
      #expect(
        found == [
          "node `a`: 4 channels do not fit dimension 1 of [2, 3]", "node `b`: the model has no such parameter",
        ])
    }
  }
}

extension TinyGraph {
  /// Numbers of all parameters.
  var size: Int { tensors.values.reduce(0) { $0 + $1.values.count } }
}
