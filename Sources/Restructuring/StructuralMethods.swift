public import EspalierBasics

/// All methods by name.
public enum StructuralMethods {
  public static let all: [any StructuralMethod.Type] = [
    UniformWidth.self,
    GreedyOutput.self,
    SubnetSearch.self,
    LayerDropping.self,
    LayerCollapse.self,
    BlockDropping.self,
    MultiPruner.self,
    StateSpaceShedding.self,
    ExpertPruning.self,
    FairnessHeads.self,
  ]

  /// - Throws: `restructuring` for a name that no method has.
  public static func method(named name: String) throws(Problem) -> any StructuralMethod.Type {
    if let method = all.first(where: { $0.card.name == name }) { return method }
    throw Problem(
      .restructuring, "there is no method `\(name)`",
      remedy: "Methods: \(all.map { $0.card.name }.sorted().joined(separator: ", ")).")
  }
}
