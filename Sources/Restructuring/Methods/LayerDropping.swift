internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints

/// Whole layers leave: those that a metric says the model needs least.
public struct LayerDropping: StructuralMethod {
  /// What tells the layers that leave.
  enum Metric: String, CaseIterable {
    /// The last ones but for the very last.
    case last
    /// Those that turn their rows least: 1 - cos of what enters and leaves.
    case influence
    /// One after the other, each time the one without which predictions move least.
    case divergence
  }

  public static let card = MethodCard(
    name: "drop-layers", summary: "whole layers leave", source: "lu2024layers",
    parameters: [
      ParameterCard(
        "metric", .choice(Metric.allCases.map(\.rawValue)), default: .word("divergence"),
        "what tells the layers that leave")
    ])
  public static let needs = StructuralNeed.text

  private let metric: Metric

  public init(_ parameters: StructuralParameters) throws(Problem) {
    metric = parameters.word("metric").flatMap(Metric.init) ?? .divergence
  }

  public func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured {
    guard let tower = subject.description.towers.first(where: { $0.layerCount > 1 && $0.layerCountKey != nil }) else {
      throw Problem(.restructuring, "a \(subject.family.name) has no layers that could leave")
    }
    var kept = Array(0..<tower.layerCount)
    var steps: [Restructured.Step] = []
    var order = try fixedOrder(kept, subject)
    var current = try changed(subject, tower.name, kept)
    while ParameterCount.of(current, described: current.description) > parameters {
      guard kept.count > 1 else {
        throw Problem(
          .restructuring,
          "\(parameters) numbers cannot be reached: one layer alone leaves \(ParameterCount.of(current, described: current.description))"
        )
      }
      if order == nil {
        let (layer, divergence) = try leastMissed(kept, tower.name, subject)
        steps.append(.init("layer \(layer) leaves", figures: [("divergence", divergence)]))
        kept.removeAll { $0 == layer }
      } else if let layer = order?.removeFirst() {
        steps.append(.init("layer \(layer.layer) leaves", figures: layer.figures))
        kept.removeAll { $0 == layer.layer }
      }
      subject.progress(steps[steps.count - 1].text)
      current = try changed(subject, tower.name, kept)
    }
    return Restructured(current, steps: steps)
  }

  /// The order in which layers leave, where it does not depend on which have left.
  private func fixedOrder(
    _ layers: [Int], _ subject: any StructuralSubject
  ) throws(Problem) -> [(layer: Int, figures: [(name: String, value: Double)])]? {
    switch metric {
    case .divergence: return nil
    case .last:
      let order = layers.dropLast().reversed() + [layers[layers.count - 1]]
      return order.map { ($0, []) }
    case .influence:
      let influence = try BlockInfluence.measure(subject)
      return layers.sorted { influence[$0] == influence[$1] ? $0 > $1 : influence[$0] < influence[$1] }.map {
        ($0, [("influence", influence[$0])])
      }
    }
  }

  private func leastMissed(
    _ kept: [Int], _ tower: String, _ subject: any StructuralSubject
  ) throws(Problem) -> (layer: Int, divergence: Double) {
    var best: (layer: Int, divergence: Double)?
    for layer in kept {
      let without = try changed(subject, tower, kept.filter { $0 != layer })
      let divergence = try subject.divergence(of: without, named: "without layer \(layer)")
      if divergence < best?.divergence ?? .infinity { best = (layer, divergence) }
    }
    guard let best else { throw Problem(.restructuring, "without any of the layers nothing is predicted") }
    return best
  }

  private func changed(
    _ subject: any StructuralSubject, _ tower: String, _ layers: [Int]
  ) throws(Problem) -> RestructuredCheckpoint {
    do throws(Problems) {
      return try RestructuredCheckpoint(
        subject.checkpoint, of: subject.family, change: StructuralChange(choices: [:], layers: [tower: layers]))
    } catch { throw error.all.first ?? Problem(.restructuring, "the model cannot be changed") }
  }
}
