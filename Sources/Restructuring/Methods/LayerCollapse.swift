internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierNumerics

/// Layers fold into the one before them, as long as what leaves the model stays similar (LaCo).
///
///     θ'_l = θ_l + Σ_{k=1}^{m} (θ_{l+k} - θ_l)
public struct LayerCollapse: StructuralMethod {
  public static let card = MethodCard(
    name: "laco", summary: "layers fold into one: their differences are added to the first", source: "yang2024laco",
    parameters: [
      ParameterCard("merge", .integer(2...64), default: .number(3), "Layers that become one, C in the source."),
      ParameterCard("interval", .integer(1...64), default: .number(2), "Layers between two merges, I, at least."),
      ParameterCard("lowest", .integer(0...4096), default: .number(1), "The first layer that others may fold into."),
      ParameterCard(
        "threshold", .number(-1...1), default: .number(0.75),
        "Least cosine of last states before and after, mean over the windows."),
      ParameterCard(
        "relax", .number(0.001...1), default: .number(0.05),
        "Taken from the threshold where a sweep ends above the goal, and swept again."),
    ],
    notes:
      "The source sweeps once, with thresholds chosen for a size; here the size is given, and a merge takes no more "
      + "layers than it needs. Only layers of one kind fold; norms stay those of the first layer. The cosine is of all "
      + "last states of a window as one vector.")

  private let merged: Int
  private let interval: Int
  private let lowest: Int
  private let threshold: Double
  private let relax: Double

  public init(_ parameters: StructuralParameters) throws(Problem) {
    merged = parameters.integer("merge") ?? 3
    interval = parameters.integer("interval") ?? 2
    lowest = parameters.integer("lowest") ?? 1
    threshold = parameters.number("threshold") ?? 0.75
    relax = parameters.number("relax") ?? 0.05
  }

  public var needs: StructuralNeed { .text }

  public func check(_ model: any StructuralModel, to parameters: Int) throws(Problem) {
    let tower = try model.layeredTower()
    // Layers fold into those before them, so what stays at the least are the first, up to the lowest that takes any.
    let first = Array(0..<min(tower.layerCount, lowest + 1))
    let least = count(try model.changed(StructuralChange(layers: [tower.name: first])))
    guard least <= parameters else { throw unreachable(parameters, least) }
  }

  public func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured {
    let tower = try subject.layeredTower()
    guard !subject.sequences.isEmpty else {
      throw Problem(.restructuring, "similarity is measured on text", remedy: "Give --text.")
    }
    let original = try CausalLanguageModel(subject.network).finalStates(of: subject.sequences)
    var layers = CollapsedLayers(kinds: subject.layerKinds(of: tower))
    var current = try subject.changed(StructuralChange())
    var steps: [Restructured.Step] = []
    var threshold = threshold
    while true {
      let before = layers.count
      var layer = max(lowest, layers.count - merged)
      while layer >= lowest {
        guard count(current) > parameters else { return Restructured(current, steps: steps) }
        let (tried, model, taken) = try fold(layers, into: layer, of: tower, subject, to: parameters)
        let isAllowed = tried.count < layers.count
        let similarity =
          isAllowed
          ? Self.similarity(
            original, try CausalLanguageModel(try subject.network(of: model)).finalStates(of: subject.sequences))
          : -.infinity
        guard isAllowed, similarity > threshold else {
          layer -= 1
          continue
        }
        let text = "layers \(layers.name(layer + 1, taken)) fold into \(layers.name(layer, 1))"
        steps.append(.init(text, figures: [("similarity", similarity), ("threshold", threshold)]))
        subject.progress(text)
        (layers, current) = (tried, model)
        layer = min(layer - interval, layers.count - merged)
      }
      guard count(current) > parameters else { return Restructured(current, steps: steps) }
      guard threshold > -1 || layers.count < before else {
        throw unreachable(parameters, count(current))
      }
      threshold = max(-1, threshold - relax)
    }
  }

  /// Folds as many layers as there are to fold, but no more than the goal asks for.
  private func fold(
    _ layers: CollapsedLayers, into layer: Int, of tower: ModelDescription.Tower, _ subject: any StructuralSubject,
    to parameters: Int
  ) throws(Problem) -> (CollapsedLayers, RestructuredCheckpoint, taken: Int) {
    let most = min(merged - 1, layers.count - layer - 1)
    var found = (layers, try subject.changed(layers.change(of: tower)), 0)
    for taken in stride(from: 1, through: most, by: 1) {
      guard layers.kinds(layer...(layer + taken)).count == 1 else { break }
      let folded = layers.folded(taken, into: layer)
      let model = try subject.changed(folded.change(of: tower))
      found = (folded, model, taken)
      if count(model) <= parameters { break }
    }
    return found
  }

  private func unreachable(_ wanted: Int, _ least: Int) -> Problem {
    Problem(
      .restructuring, "\(wanted) numbers cannot be reached: \(least) can",
      remedy: "Give a smaller `lowest` or `merge`.")
  }

  private func count(_ model: RestructuredCheckpoint) -> Int {
    ParameterCount.of(model, described: model.description)
  }

  /// The mean over sequences of the cosine of all their states.
  static func similarity(_ a: FinalStates, _ b: FinalStates) -> Double {
    guard a.starts == b.starts, a.width == b.width, a.starts.count > 1 else { return 0 }
    let (x, y) = (a.values.floats, b.values.floats)
    var sum = 0.0
    for sequence in 0..<(a.starts.count - 1) {
      let rows = a.rows(ofSequence: sequence)
      var (xy, xx, yy) = (0.0, 0.0, 0.0)
      for place in (rows.lowerBound * a.width)..<(rows.upperBound * a.width) {
        let (p, q) = (Double(x[place]), Double(y[place]))
        xy += p * q
        xx += p * p
        yy += q * q
      }
      sum += xx > 0 && yy > 0 ? xy / (xx * yy).squareRoot() : 0
    }
    return sum / Double(a.starts.count - 1)
  }
}

/// The layers of a tower, each a sum of layers of the original.
struct CollapsedLayers {
  /// For each layer that is left, its place in the original and the weights of the original's layers in it.
  private var layers: [(first: Int, last: Int, weights: [Int: Double])]

  /// Of the original's layers; only those of one kind can be summed.
  private let kinds: [[String]]

  init(kinds: [[String]]) {
    self.kinds = kinds
    layers = kinds.indices.map { ($0, $0, [$0: 1]) }
  }

  var count: Int { layers.count }

  func name(_ layer: Int, _ count: Int) -> String {
    let (first, last) = (layers[layer].first, layers[layer + count - 1].first)
    return first == last ? "\(first)" : "\(first) to \(last)"
  }

  func kinds(_ range: ClosedRange<Int>) -> Set<[String]> { Set(range.map { kinds[layers[$0].first] }) }

  /// `θ_l + Σ (θ_{l+k} - θ_l) = (1 - m) θ_l + Σ θ_{l+k}` over the m layers that follow.
  func folded(_ taken: Int, into layer: Int) -> CollapsedLayers {
    var result = self
    var weights = layers[layer].weights.mapValues { $0 * Double(1 - taken) }
    for next in layers[(layer + 1)...(layer + taken)] { weights.merge(next.weights) { $0 + $1 } }
    result.layers[layer].weights = weights.filter { $0.value != 0 }
    result.layers[layer].last = layers[layer + taken].last
    result.layers.removeSubrange((layer + 1)...(layer + taken))
    return result
  }

  func change(of tower: ModelDescription.Tower) -> StructuralChange {
    var change = StructuralChange(layers: [tower.name: layers.map(\.first)])
    for layer in layers where layer.weights != [layer.first: 1] {
      change.foldedLayers[tower.name, default: [:]][layer.first] = layer.weights.sorted { $0.key < $1.key }.map {
        PartShare($0.key, weight: $0.value)
      }
    }
    return change
  }
}

extension StructuralModel {
  /// What the parameters of every layer of a tower are, with their shapes.
  fileprivate func layerKinds(of tower: ModelDescription.Tower) -> [[String]] {
    var kinds = (0..<tower.layerCount).map { tower.layerKinds.indices.contains($0) ? [tower.layerKinds[$0]] : [] }
    for parameter in checkpoint.parameters {
      guard let described = description.parameter(named: parameter.name), described.tower == tower.name,
        let layer = described.layer
      else { continue }
      kinds[layer].append("\(described.role) \(described.expert ?? 0) \(parameter.shape)")
    }
    return kinds.map { $0.sorted() }
  }
}
