public import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints

/// Layers in the order in which a model misses them least, one after the other, each measured on what is left.
public enum DepthOrder {
  public struct Step: Sendable, Hashable {
    /// Its number in the whole model.
    public var layer: Int
    /// Of the model without it and those before it, from the whole one: nats a token.
    public var divergence: Double

    public init(layer: Int, divergence: Double) { (self.layer, self.divergence) = (layer, divergence) }
  }

  /// - Parameter count: of layers that leave; one at least stays.
  /// - Returns: a step a layer. A candidate is measured again only if by what it cost last it would be next.
  /// - Throws: `restructuring` for a family without layers that could leave; what measuring throws.
  public static func measure(_ subject: any StructuralSubject, atMost count: Int) throws(Problem) -> [Step] {
    let tower = try subject.layeredTower()
    let most = min(count, tower.layerCount - 1)
    guard most > 0 else { return [] }
    var removal = try GreedyRemoval(subject, isLazy: true)
    let queues = (0..<tower.layerCount).map { layer in
      [
        Removal(text: text(layer)) { change in
          let kept = (change.layers[tower.name] ?? Array(0..<tower.layerCount)).filter { $0 != layer }
          change.layers[tower.name] = kept
          return !kept.isEmpty
        }
      ]
    }
    let layers = Dictionary(uniqueKeysWithValues: (0..<tower.layerCount).map { (text($0), $0) })
    // Layers that differ in size reach it with a few more or less.
    let shortest = try checkpoint(subject, without: Array((tower.layerCount - most)..<tower.layerCount))
    let least = ParameterCount.of(shortest, described: shortest.description)
    _ = try removal.remove(queues, until: least)
    return removal.steps.compactMap { step in
      guard let layer = layers[step.text], let figure = step.figures.first else { return nil }
      return Step(layer: layer, divergence: figure.value)
    }
  }

  /// The model without some of its layers.
  public static func checkpoint(
    _ subject: any StructuralSubject, without layers: [Int]
  ) throws(Problem) -> RestructuredCheckpoint {
    let tower = try subject.layeredTower()
    let gone = Set(layers)
    return try subject.changed(
      StructuralChange(layers: [tower.name: (0..<tower.layerCount).filter { !gone.contains($0) }]))
  }

  /// How many layers there are that could leave.
  public static func layerCount(_ description: ModelDescription) -> Int { description.layeredTower?.layerCount ?? 0 }

  private static func text(_ layer: Int) -> String { "layer \(layer) leaves" }
}
