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
  public static let blocks: [MethodCard] = [Lorap.card]

  /// The names of the methods of `factorize`, or of `prune`.
  public static func names(makingFactors: Bool) -> [String] {
    makingFactors ? factorization.map { $0.card.name } + blocks.map(\.name) : pruning.map { $0.card.name }
  }

  /// Whether a method's budgets are those of factors, else those of zeros.
  public static func makesFactors(_ name: String) -> Bool { names(makingFactors: true).contains(name) }

  /// The card of a method of matrices or of blocks.
  public static func card(named name: String) -> MethodCard? {
    (all.map { $0.card } + blocks).first { $0.name == name }
  }

  /// What a method has to know of the inputs; nothing of one that does not exist or does not take the parameters.
  public static func needs(of name: String, _ parameters: [String: ParameterValue]) -> StatisticsNeed {
    // Blocks are reduced by what their inputs weigh.
    if blocks.contains(where: { $0.name == name }) { return .columns }
    guard let type = all.first(where: { $0.card.name == name }),
      let method = try? type.init(ReductionParameters(parameters, for: type.card))
    else { return .nothing }
    return method.needs
  }

  /// - Throws: `reduction` for a name that no method has.
  public static func method(named name: String) throws(Problem) -> any ReductionMethod.Type {
    if let method = all.first(where: { $0.card.name == name }) { return method }
    throw Problem(
      .reduction, "there is no method `\(name)`",
      remedy: "Methods: \(all.map { $0.card.name }.sorted().joined(separator: ", ")).")
  }
}
