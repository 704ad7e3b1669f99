public import EspalierBasics

/// All methods by name.
public enum ReductionMethods {
  public static let all: [any ReductionMethod.Type] = [
    MagnitudePruning.self,
    Wanda.self,
    SparseGPT.self,
    OptimalBrainCompression.self,
    NetTrim.self,
    PlainSVD.self,
    ActivationScaledSVD.self,
    ActivationWeightedSVD.self,
    WhitenedSVD.self,
    FeaturePCA.self,
    CUR.self,
    ColumnInterpolation.self,
  ]

  /// - Throws: `reduction` for a name that no method has.
  public static func method(named name: String) throws(Problem) -> any ReductionMethod.Type {
    if let method = all.first(where: { $0.card.name == name }) { return method }
    throw Problem(
      .reduction, "there is no method `\(name)`",
      remedy: "Methods: \(all.map { $0.card.name }.sorted().joined(separator: ", ")).")
  }
}
