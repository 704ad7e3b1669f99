internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints

/// Whole layers leave: those that a metric says the model needs least.
public struct LayerDropping: StructuralMethod {
  /// Which layers are looked at together.
  enum Order: String, CaseIterable {
    /// One after the other, each time measured on what is left.
    case oneByOne = "one-by-one"
    /// By figures of the whole model.
    case once
    /// Neighbours, as one run.
    case together
  }

  public static let card = MethodCard(
    name: "drop-layers", summary: "whole layers leave", source: "lu2024layers",
    parameters: [
      ParameterCard(
        "metric", .choice(LayerMetric.allCases.map(\.rawValue)), default: .word("divergence"),
        "What tells the layers that leave: the lowest."),
      ParameterCard(
        "order", .choice(Order.allCases.map(\.rawValue)), default: .word("one-by-one"),
        "Measured anew after each that left, all at once, or a run of neighbours together."),
      ParameterCard("seed", .integer(0...Int(Int32.max)), default: .number(0), "Of metric=random."),
    ],
    notes:
      "reverse is the last quarter of the source; last keeps the very last layer, as Gromov et al. do; their angles "
      + "between depths are metric=angular with order=together; Minitron's depth pruning is metric=perplexity with "
      + "order=together; influence is ShortGPT's. Taylor scores are left out: they estimate from gradients how the loss "
      + "changes without a layer, which metric=perplexity measures.")

  private let metric: LayerMetric
  private let order: Order
  private let seed: Int

  public init(_ parameters: StructuralParameters) throws(Problem) {
    metric = parameters.word("metric").flatMap(LayerMetric.init) ?? .divergence
    order = parameters.word("order").flatMap(Order.init) ?? .oneByOne
    seed = parameters.integer("seed") ?? 0
  }

  public var needs: StructuralNeed { metric.needsText ? .text : .nothing }

  public func check(_ model: any StructuralModel, to parameters: Int) throws(Problem) {
    let tower = try model.layeredTower()
    var least = Int.max
    for layer in 0..<tower.layerCount {
      least = min(least, count(try model.changed(StructuralChange(layers: [tower.name: [layer]]))))
    }
    guard least <= parameters else { throw unreachable(parameters, least) }
  }

  public func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured {
    let measure = LayerMeasure(metric: metric, seed: seed, subject: subject, tower: try subject.layeredTower())
    return order == .together ? try dropRun(measure, to: parameters) : try dropSingle(measure, to: parameters)
  }

  private func dropSingle(_ measure: LayerMeasure, to parameters: Int) throws(Problem) -> Restructured {
    var kept = Array(0..<measure.tower.layerCount)
    var steps: [Restructured.Step] = []
    var current = try measure.model(of: kept)
    var figures: [Int: Double]?
    while count(current) > parameters {
      guard kept.count > 1 else { throw unreachable(parameters, count(current)) }
      if figures == nil || (order == .oneByOne && !metric.isFixed) {
        figures = Dictionary(uniqueKeysWithValues: zip(kept, try measure.figures(of: kept)))
      }
      // Of equal ones the later leaves.
      guard let layer = kept.min(by: { (figures?[$0] ?? 0, -$0) < (figures?[$1] ?? 0, -$1) }) else { break }
      kept.removeAll { $0 == layer }
      steps.append(.init("layer \(layer) leaves", figures: figure(figures?[layer])))
      measure.subject.progress(steps[steps.count - 1].text)
      current = try measure.model(of: kept)
    }
    return Restructured(current, steps: steps)
  }

  /// The shortest run that suffices somewhere, where its figure is lowest.
  private func dropRun(_ measure: LayerMeasure, to parameters: Int) throws(Problem) -> Restructured {
    let all = Array(0..<measure.tower.layerCount)
    func without(_ start: Int, _ length: Int) -> [Int] { Array(all[..<start] + all[(start + length)...]) }
    var least = Int.max
    for length in 1..<all.count {
      var starts: [Int] = []
      for start in 0...(all.count - length) {
        let left = count(try measure.model(of: without(start, length)))
        least = min(least, left)
        if left <= parameters { starts.append(start) }
      }
      guard !starts.isEmpty else { continue }
      let figures = try measure.figures(ofRuns: length)
      guard let start = starts.min(by: { (figures[$0], -$0) < (figures[$1], -$1) }) else { continue }
      let text = length == 1 ? "layer \(start) leaves" : "layers \(start) to \(start + length - 1) leave"
      return Restructured(
        try measure.model(of: without(start, length)), steps: [.init(text, figures: figure(figures[start]))])
    }
    throw unreachable(parameters, least)
  }

  private func figure(_ value: Double?) -> [(name: String, value: Double)] {
    switch metric {
    case .random, .last, .reverse: []
    default: value.map { [(metric.rawValue, $0)] } ?? []
    }
  }

  private func count(_ model: RestructuredCheckpoint) -> Int {
    ParameterCount.of(model, described: model.description)
  }

  private func unreachable(_ wanted: Int, _ least: Int) -> Problem {
    Problem(.restructuring, "\(wanted) numbers cannot be reached: one layer alone leaves \(least)")
  }
}
