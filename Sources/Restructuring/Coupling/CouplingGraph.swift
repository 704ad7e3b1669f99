public import EspalierBasics

/// How the maps of a network that no family describes are joined, as its user writes it down: nodes in the order in which
/// they are computed, each naming what enters it and the parameters that it has.
///
/// Only channels matter: positions, batches and what is computed between channels do not.
public struct CouplingGraph: Sendable, Hashable {
  public struct Node: Sendable, Hashable {
    public let name: String
    public let operation: Operation
    /// Names of nodes or inputs.
    public let inputs: [String]

    public init(name: String, operation: Operation, inputs: [String]) {
      (self.name, self.operation, self.inputs) = (name, operation, inputs)
    }
  }

  public enum Operation: Sendable, Hashable {
    /// `[outputs, inputs]`, or `[inputs, outputs]` where it is stored turned.
    case linear(weight: String, bias: String?, isTurned: Bool)
    /// `[outputs, inputs / groups, …]`.
    case convolution(weight: String, bias: String?, groups: Int)
    /// `[entries, outputs]`.
    case embedding(weight: String)
    /// Parameters `[channels]` that scale or shift each channel: norms, layer scales.
    case channelwise(parameters: [String])
    /// Each channel by itself, without parameters: activations, pooling, dropout.
    case elementwise
    /// Sums or products, channel by channel.
    case together
    /// Channels of one after those of the other.
    case concatenation
    /// Of each channel so many numbers in a row become channels.
    case flatten(positions: Int)
    /// Some channels of what enters.
    case slice(start: Int, count: Int)
    /// Queries, keys and values, of `heads` and `keyValueHeads` heads.
    case attention(heads: Int, keyValueHeads: Int)
  }

  /// Numbers of channels of what enters the network, by name.
  public let inputs: [(name: String, channels: Int)]
  public let nodes: [Node]
  /// Nodes whose channels leave the network, so that they must stay.
  public let outputs: [String]

  public init(inputs: [(name: String, channels: Int)], nodes: [Node], outputs: [String]) {
    (self.inputs, self.nodes, self.outputs) = (inputs, nodes, outputs)
  }

  public static func == (a: CouplingGraph, b: CouplingGraph) -> Bool {
    a.inputs.elementsEqual(b.inputs, by: ==) && a.nodes == b.nodes && a.outputs == b.outputs
  }

  public func hash(into hasher: inout Hasher) {
    hasher.combine(nodes)
    hasher.combine(outputs)
  }
}

extension CouplingGraph {
  /// - Parameter json: as [restructuring.md](restructuring.md) says.
  /// - Throws: `restructuring` for every mistake, all at once, each with its node.
  public init(parsing json: JSON) throws(Problems) {
    var problems = Problems()
    func complain(_ text: String) { problems.add(Problem(.restructuring, "the graph: \(text)")) }
    var inputs: [(name: String, channels: Int)] = []
    for (name, channels) in json["inputs"]?.members?.pairs ?? [] {
      guard let channels = channels.integer, channels > 0 else {
        complain("input `\(name)` needs its number of channels")
        continue
      }
      inputs.append((name, channels))
    }
    var known = Set(inputs.map(\.name))
    var nodes: [Node] = []
    for (place, entry) in (json["nodes"]?.array ?? []).enumerated() {
      guard let name = entry["name"]?.string else {
        complain("node \(place) has no `name`")
        continue
      }
      if known.contains(name) { complain("`\(name)` is there twice") }
      let entering = entry["inputs"]?.array?.compactMap(\.string) ?? entry["input"]?.string.map { [$0] } ?? []
      for input in entering where !known.contains(input) {
        complain("`\(name)` takes `\(input)`, which no input or earlier node is called")
      }
      known.insert(name)
      do throws(Problem) {
        nodes.append(Node(name: name, operation: try Operation(entry, entering.count), inputs: entering))
      } catch { complain("node `\(name)`: \(error.message)") }
    }
    let outputs = json["outputs"]?.array?.compactMap(\.string) ?? []
    for output in outputs where !known.contains(output) { complain("no node is called `\(output)`, an output") }
    if inputs.isEmpty { complain("it has no `inputs`") }
    if nodes.isEmpty { complain("it has no `nodes`") }
    if outputs.isEmpty { complain("it has no `outputs`") }
    guard problems.errors.isEmpty else { throw problems }
    self.init(inputs: inputs, nodes: nodes, outputs: outputs)
  }
}

extension CouplingGraph.Operation {
  /// The word for each, with how many inputs it takes; nil: one or more.
  private static let words: [(String, Int?)] = [
    ("linear", 1), ("conv", 1), ("embedding", 1), ("norm", 1), ("elementwise", 1), ("add", nil), ("mul", nil),
    ("concat", nil), ("flatten", 1), ("slice", 1), ("attention", 3),
  ]

  init(_ json: JSON, _ count: Int) throws(Problem) {
    func fail(_ text: String) -> Problem { Problem(.restructuring, text) }
    func word(_ key: String) throws(Problem) -> String {
      guard let value = json[key]?.string else { throw fail("it needs `\(key)`") }
      return value
    }
    func natural(_ key: String, or standard: Int? = nil, from least: Int = 1) throws(Problem) -> Int {
      guard let value = json[key] else {
        if let standard { return standard }
        throw fail("it needs `\(key)`")
      }
      guard let number = value.integer, number >= least, number < 1 << 31 else {
        throw fail("`\(key)` is no whole number of at least \(least)")
      }
      return number
    }
    let operation = try word("op")
    guard let takes = Self.words.first(where: { $0.0 == operation }) else {
      throw fail("`op` \(operation) is none of \(Self.words.map(\.0).joined(separator: ", "))")
    }
    guard takes.1 ?? max(1, count) == count else {
      throw fail("\(operation) takes \(takes.1 ?? 1) inputs, not \(count)")
    }
    switch operation {
    case "linear":
      self = .linear(
        weight: try word("weight"), bias: json["bias"]?.string, isTurned: json["turned"]?.bool ?? false)
    case "conv":
      self = .convolution(weight: try word("weight"), bias: json["bias"]?.string, groups: try natural("groups", or: 1))
    case "embedding": self = .embedding(weight: try word("weight"))
    case "norm": self = .channelwise(parameters: json["parameters"]?.array?.compactMap(\.string) ?? [])
    case "elementwise": self = .elementwise
    case "add", "mul": self = .together
    case "concat": self = .concatenation
    case "flatten": self = .flatten(positions: try natural("positions"))
    case "slice": self = .slice(start: try natural("start", from: 0), count: try natural("count"))
    default:
      let heads = try natural("heads")
      self = .attention(heads: heads, keyValueHeads: try natural("keyValueHeads", or: heads))
    }
  }
}
