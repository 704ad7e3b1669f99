internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// Puts zeros into the parameters of a model until they have the shapes of another description.
struct Padding {
  let from: ModelDescription
  let to: ModelDescription
  private(set) var parameters: [Parameter] = []
  private(set) var padded: [String] = []
  private(set) var problems = Problems()
  /// A stored parameter of each template, for the spelling and type of those that are missing.
  private var examples: [String: (described: ParameterDescription, parameter: Parameter)] = [:]
  /// Axes that get zeros, each with a parameter that carries it, and those that an output projection carries.
  private var widened: [String: String] = [:]
  private var closed: Set<String> = []

  init(from: ModelDescription, to: ModelDescription) {
    self.from = from
    self.to = to
  }

  /// The config with all layers alike: of every axis the largest size that a layer has, or, where a config of the family
  /// cannot store that, at least what it says of all layers.
  static func evened(_ config: JSON, of family: Architecture) throws(Problem) -> JSON {
    do throws(Problem) { return try evened(config, of: family, atLeast: [:]) } catch
      where error.code == .architectureInverse
    {
      let plain = try family.withoutLayerEntries(config)
      var usual: [String: Int] = [:]
      for (_, layers) in try family.layerShapes(config: plain) {
        for layer in layers { usual.merge(layer.sizes) { max($0, $1) } }
      }
      return try evened(config, of: family, atLeast: usual)
    }
  }

  private static func evened(
    _ config: JSON, of family: Architecture, atLeast least: [String: Int]
  ) throws(Problem) -> JSON {
    let towers = try family.layerShapes(config: config)
    var largest = least
    for (_, layers) in towers {
      for layer in layers { largest.merge(layer.sizes) { max($0, $1) } }
    }
    let changes = towers.map { tower, layers in
      ConfigChange.shapes(
        tower: tower,
        layers.map { layer in
          LayerShape(sizes: layer.sizes.reduce(into: [:]) { $0[$1.key] = largest[$1.key] ?? $1.value })
        })
    }
    let changed = try family.config(config, with: changes)
    guard try family.withoutLayerEntries(changed) == changed else {
      throw Problem(.architectureInverse, "a config of \(family.name) cannot say these sizes of all layers")
    }
    return changed
  }

  // MARK: - Parameters

  mutating func run(_ stored: [Parameter]) {
    for parameter in stored {
      guard let old = from.parameter(named: parameter.name), let new = to.parameter(named: parameter.name) else {
        parameters.append(parameter)
        continue
      }
      examples[new.template] = (new, parameter)
      guard old.shape != new.shape else {
        parameters.append(parameter)
        continue
      }
      do throws(Problem) {
        parameters.append(try pad(parameter, old, new))
        padded.append(parameter.name)
      } catch { problems.add(error.at(tensor: parameter.name)) }
    }
    for (axis, name) in widened.sorted(by: { $0.key < $1.key }) where !closed.contains(axis) {
      problems.add(
        Problem(
          .padding, "zeros along the axis `\(axis)` would change what the model computes", tensor: name))
    }
    addMissing(stored)
    parameters.sort { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
  }

  /// What blocks that are there again read, as zeros.
  private mutating func addMissing(_ stored: [Parameter]) {
    let names = stored.map(\.name)
    let absent = Set(from.fit(names: names).missing.map(\.name))
    if !absent.isEmpty {
      let shown = absent.sorted().prefix(4).joined(separator: ", ")
      problems.add(Problem(.padding, "parameters are missing: \(shown)\(absent.count > 4 ? ", ..." : "")"))
    }
    for described in to.fit(names: names).missing where !absent.contains(described.name) {
      let example = examples[described.template]?.parameter
      let name = spelled(described)
      let type = example?.elementType ?? stored.first?.elementType ?? .f32
      let count = described.shape.reduce(1, *)
      parameters.append(
        Parameter(
          name: name, shape: described.shape, elementType: type,
          recipe: .gathered([.zeros(count: count)], sources: [], shape: [count, 1])))
      padded.append(name)
    }
  }

  /// The name of a parameter, spelled as the same one of another layer is.
  private func spelled(_ described: ParameterDescription) -> String {
    guard let example = examples[described.template] else { return described.name }
    let template = example.described.template(spelling: example.parameter.name)
    return template.replacing("{layer}", with: "\(described.layer ?? 0)")
  }

  private mutating func pad(
    _ parameter: Parameter, _ old: ParameterDescription, _ new: ParameterDescription
  ) throws(Problem) -> Parameter {
    guard parameter.shape == old.shape, old.dimensions.count == new.dimensions.count else {
      throw Problem(.padding, "the shape is \(parameter.shape); by the config it is \(old.shape)")
    }
    var positions: [[Int]] = []
    for (index, (a, b)) in zip(old.dimensions, new.dimensions).enumerated() {
      let sizes = Dictionary(a.axes.map { ($0.name, $0.size) }, uniquingKeysWith: { $1 })
      for axis in b.axes where sizes[axis.name] != axis.size {
        guard Self.carriers.contains(new.role.part) else {
          throw Problem(
            .padding, "zeros along the axis `\(axis.name)` would change what the model computes: a \(new.role) has it")
        }
        widened[axis.instance] = parameter.name
        // The inputs of a map are its last dimension, or the one before where it is stored as [in, out].
        let inputs = new.recipe.isTransposed ? new.dimensions.count - 2 : new.dimensions.count - 1
        if Self.outputs.contains(new.role.part), !new.role.isBias, index == inputs { closed.insert(axis.instance) }
      }
      positions.append(try b.indices { axis in sizes[axis.name].map { Array(0..<$0) } })
    }
    let count = new.shape.reduce(1, *)
    let runs = ZeroRuns(of: new.shape, holding: old.shape, at: positions)
    var result = parameter
    result.shape = new.shape
    result.recipe = .gathered(runs.runs, sources: [parameter.recipe], shape: [count / runs.unit, runs.unit])
    return result
  }

  /// Maps whose units are independent of each other.
  private static let carriers: Set<Role.Part> = [
    .attentionQuery, .attentionKey, .attentionValue, .attentionOutput, .attentionQueryKeyValue, .attentionSink,
    .crossAttentionQuery, .crossAttentionKey, .crossAttentionValue, .crossAttentionOutput, .attentionQueryUp,
    .attentionKeyValueUp, .feedForwardGate, .feedForwardUp, .feedForwardDown, .feedForwardGateUp,
  ]

  /// Maps that end a block: what enters a zero column of them is lost.
  private static let outputs: Set<Role.Part> = [.attentionOutput, .crossAttentionOutput, .feedForwardDown]
}

/// The elements of a tensor as runs of those of a smaller one and of zeros.
struct ZeroRuns {
  private(set) var runs: [RowRun] = []
  /// Elements that runs count by: trailing dimensions that stay whole.
  let unit: Int
  private let shape: [Int]
  private let inner: [Int]
  /// For each dimension, the position in the smaller tensor of each entry; nil: new.
  private let sources: [[Int?]]
  private let depth: Int

  /// - Parameters:
  ///   - shape: of the result.
  ///   - inner: of the smaller tensor.
  ///   - positions: for each dimension, where the entries of the smaller tensor go, in order.
  init(of shape: [Int], holding inner: [Int], at positions: [[Int]]) {
    self.shape = shape
    self.inner = inner
    sources = zip(shape, positions).map { size, positions in
      var sources = [Int?](repeating: nil, count: size)
      for (old, new) in positions.enumerated() { sources[new] = old }
      return sources
    }
    depth = shape.indices.last { shape[$0] != inner[$0] }.map { $0 + 1 } ?? 0
    unit = max(1, shape[depth...].reduce(1, *))
    visit(0, from: 0)
  }

  /// Appends the part of the result below one entry of each of the first `dimension` dimensions.
  private mutating func visit(_ dimension: Int, from base: Int) {
    guard dimension < depth else { return append(first: base, count: 1) }
    for source in sources[dimension] {
      if let source {
        visit(dimension + 1, from: base * inner[dimension] + source)
      } else {
        append(first: nil, count: shape[(dimension + 1)..<depth].reduce(1, *))
      }
    }
  }

  private mutating func append(first: Int?, count: Int) {
    switch (runs.last, first) {
    case (.rows(_, let start, let length)?, let first?) where start + length == first:
      runs[runs.count - 1] = .rows(source: 0, first: start, count: length + count)
    case (.zeros(let length)?, nil): runs[runs.count - 1] = .zeros(count: length + count)
    case (_, let first?): runs.append(.rows(source: 0, first: first, count: count))
    case (_, nil): runs.append(.zeros(count: count))
    }
  }
}
