internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints

/// Single blocks leave, attention or feed-forward, one after the other: that without which predictions move least.
public struct BlockDropping: StructuralMethod {
  public static let card = MethodCard(
    name: "drop-blocks", summary: "attention and feed-forward blocks leave, one by one", source: "zhong2024blockpruner",
    parameters: [MultiPruner.lazyCard],
    notes: "The source goes by perplexity, this by the divergence from the original's predictions, on the calibration "
      + "text. A layer without blocks leaves whole. Layers differ afterwards: see uneven layers.")

  private let isLazy: Bool

  public init(_ parameters: StructuralParameters) throws(Problem) { isLazy = parameters.flag("lazy") ?? false }

  public var needs: StructuralNeed { .text }

  public func check(_ model: any StructuralModel, to parameters: Int) throws(Problem) {
    let least = try model.leastNumbers(after: try Self.blocks(of: model), until: parameters)
    guard least <= parameters else { throw Self.unreachable(parameters, least) }
  }

  public func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured {
    var removal = try GreedyRemoval(subject, isLazy: isLazy)
    guard try removal.remove(try Self.blocks(of: subject), until: parameters) else {
      throw Self.unreachable(parameters, removal.parameters)
    }
    return Restructured(removal.checkpoint, steps: removal.steps)
  }

  private static func unreachable(_ wanted: Int, _ least: Int) -> Problem {
    Problem(.restructuring, "\(wanted) numbers cannot be reached by blocks alone: \(least) can")
  }

  /// Every block that is there, each by itself.
  static func blocks(of subject: any StructuralModel) throws(Problem) -> [[Removal]] {
    let tower = try subject.layeredTower()
    guard !tower.blocks.isEmpty else {
      throw Problem(.restructuring, "layers of a \(subject.family.name) have no blocks that could leave")
    }
    let before = tower.missingBlocks.map(Set.init)
    func missing(_ layer: Int) -> Set<String> { before.indices.contains(layer) ? before[layer] : [] }
    return (0..<tower.layerCount).flatMap { layer in
      let already = missing(layer)
      return tower.blocks.filter { !already.contains($0) }.map { block in
        let alone = tower.blocks.count == 1
        return [
          Removal(text: alone ? "layer \(layer) leaves" : "\(block) of layer \(layer) leaves") { change in
            change.remove(block: block, ofLayer: layer, in: tower, lacking: already)
          }
        ]
      }
    }
  }
}

extension StructuralChange {
  /// Takes a block out, and the layer with its last one.
  ///
  /// - Returns: false if that is the last layer.
  mutating func remove(
    block: String, ofLayer layer: Int, in tower: ModelDescription.Tower, lacking already: Set<String>
  ) -> Bool {
    let gone = (missing[tower.name]?[layer] ?? []).union([block])
    guard gone.union(already).isSuperset(of: tower.blocks) else {
      missing[tower.name, default: [:]][layer] = gone
      return true
    }
    let kept = (layers[tower.name] ?? Array(0..<tower.layerCount)).filter { $0 != layer }
    guard !kept.isEmpty else { return false }
    layers[tower.name] = kept
    missing[tower.name]?[layer] = nil
    if missing[tower.name]?.isEmpty ?? false { missing[tower.name] = nil }
    return true
  }
}
