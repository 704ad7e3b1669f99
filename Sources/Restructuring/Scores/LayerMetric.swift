internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierNumerics

/// What tells the layers that leave.
enum LayerMetric: String, CaseIterable {
  case random
  /// From the end, but for the very last layer.
  case last
  /// From the end.
  case reverse
  /// The sum of magnitudes, or the root of the sum of squares, of all weights of the layer.
  case magnitudeL1 = "magnitude-l1"
  case magnitudeL2 = "magnitude-l2"
  /// 1 - cos of what enters and leaves, over all rows.
  case influence
  /// The angle between what enters and leaves, by last tokens.
  case angular
  /// Of the model without the layer.
  case perplexity
  case divergence

  /// Whether what has left already changes nothing.
  var isFixed: Bool {
    switch self {
    case .random, .last, .reverse, .magnitudeL1, .magnitudeL2: true
    case .influence, .angular, .perplexity, .divergence: false
    }
  }

  /// Of the others the weights, or nothing, tell.
  var needsText: Bool { !isFixed }
}

/// Layers of one tower of a model, measured as they leave.
struct LayerMeasure {
  let metric: LayerMetric
  let seed: Int
  let subject: any StructuralSubject
  let tower: ModelDescription.Tower

  /// For each of the layers that are left, the figure by which the lowest leaves first.
  func figures(of kept: [Int]) throws(Problem) -> [Double] {
    switch metric {
    case .random:
      var values = [Float](repeating: 0, count: tower.layerCount)
      KeyedRandom(seed: UInt64(seed), name: "drop-layers").uniforms(startingAt: 0, into: &values, count: values.count)
      return kept.map { Double(values[$0]) }
    case .last: return kept.map { $0 == tower.layerCount - 1 ? 1 : -Double($0) }
    case .reverse: return kept.map { -Double($0) }
    case .magnitudeL1, .magnitudeL2: return try magnitudes(of: kept)
    case .influence:
      let influence = try BlockInfluence.measure(try network(of: kept), on: try sequences())
      guard influence.count == kept.count else { throw unmeasured }
      return influence
    case .angular:
      let angles = try StreamAngles(try network(of: kept), on: try sequences())
      guard angles.layerCount == kept.count else { throw unmeasured }
      return kept.indices.map { angles.angle(from: $0, over: 1) }
    case .perplexity, .divergence:
      var figures: [Double] = []
      for index in kept.indices { figures.append(try effect(of: index..<index + 1, in: kept)) }
      return figures
    }
  }

  /// For every run of `count` neighbours, the figure by which the lowest leaves.
  func figures(ofRuns count: Int) throws(Problem) -> [Double] {
    let all = Array(0..<tower.layerCount)
    let starts = 0...(all.count - count)
    switch metric {
    case .angular:
      let angles = try StreamAngles(subject.network, on: try sequences())
      guard angles.layerCount == all.count else { throw unmeasured }
      return starts.map { angles.angle(from: $0, over: count) }
    case .perplexity, .divergence:
      var figures: [Double] = []
      for start in starts { figures.append(try effect(of: start..<start + count, in: all)) }
      return figures
    default:
      let single = try figures(of: all)
      return starts.map { single[$0..<$0 + count].reduce(0, +) }
    }
  }

  func model(of layers: [Int]) throws(Problem) -> RestructuredCheckpoint {
    try subject.changed(StructuralChange(layers: [tower.name: layers]))
  }

  private func effect(of gone: Range<Int>, in kept: [Int]) throws(Problem) -> Double {
    guard gone.count < kept.count else { return .infinity }
    let left = try model(of: kept.indices.filter { !gone.contains($0) }.map { kept[$0] })
    let name = "without layer \(gone.map { "\(kept[$0])" }.joined(separator: ", "))"
    return metric == .perplexity
      ? try subject.perplexity(of: left, named: name) : try subject.divergence(of: left, named: name)
  }

  private func magnitudes(of kept: [Int]) throws(Problem) -> [Double] {
    let files = FilePool()
    var sums = [Double](repeating: 0, count: tower.layerCount)
    for parameter in subject.checkpoint.parameters {
      guard let described = subject.description.parameter(named: parameter.name), described.tower == tower.name,
        let layer = described.layer, described.role.part != .buffer
      else { continue }
      for value in try parameter.values(files: files) {
        sums[layer] += metric == .magnitudeL1 ? Double(abs(value)) : Double(value) * Double(value)
      }
    }
    return kept.map { metric == .magnitudeL1 ? sums[$0] : sums[$0].squareRoot() }
  }

  private func sequences() throws(Problem) -> [[Int32]] {
    guard !subject.sequences.isEmpty else {
      throw Problem(.restructuring, "\(metric.rawValue) is measured on text", remedy: "Give --text.")
    }
    return subject.sequences
  }

  private func network(of kept: [Int]) throws(Problem) -> Network {
    if kept.count == tower.layerCount { return subject.network }
    return try subject.network(of: try model(of: kept))
  }

  private var unmeasured: Problem {
    Problem(
      .restructuring, "a \(subject.family.name) does not run layer by layer, so that \(metric.rawValue) says nothing")
  }
}

extension StructuralSubject {
  /// A changed model, ready to run as the subject's own is.
  func network(of candidate: any Checkpoint) throws(Problem) -> Network {
    try Network(
      candidate, architectures: [family], mode: network.mode, residency: network.residency, workers: workers)
  }
}
