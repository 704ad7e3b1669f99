public import EspalierBasics

/// All methods by name.
public enum ReductionMethods {
  public static let all = pruning + factorization

  /// Those that make zeros; their budgets are a sparsity or a pattern.
  public static let pruning: [any ReductionMethod.Type] = [
    MagnitudePruning.self,
    Wanda.self,
    SparseGPT.self,
    OptimalBrainCompression.self,
    NetTrim.self,
  ]

  /// Those that make factors; their budgets are a rank or a share of the numbers.
  public static let factorization: [any ReductionMethod.Type] = [
    PlainSVD.self,
    ActivationScaledSVD.self,
    ActivationWeightedSVD.self,
    WhitenedSVD.self,
    FeaturePCA.self,
    CUR.self,
    ColumnInterpolation.self,
  ]

  /// Those that take the matrices of a block together: `factorize` has them, nothing else.
  public static let blocks: [any BlockMethod.Type] = [Lorap.self, FFSplit.self]

  /// - Throws: `reduction` for a name that no method has.
  public static func method(named name: String) throws(Problem) -> any ReductionMethod.Type {
    if let method = all.first(where: { $0.card.name == name }) { return method }
    throw Problem(
      .reduction, "there is no method `\(name)`",
      remedy: "Methods: \(all.map { $0.card.name }.sorted().joined(separator: ", ")).")
  }
}
