public import EspalierBasics

/// All methods by name.
public enum ReductionMethods {
  public static let all = pruning + factorization + quantization

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

  /// Those that make codes; their budgets say what becomes zero besides, a sparsity of 0 for nothing.
  public static let quantization: [any ReductionMethod.Type] = [
    PlainRounding.self,
    GPTQ.self,
    AWQ.self,
    SmoothRounding.self,
    Float8Rounding.self,
    TernaryRounding.self,
    GreedyRounding.self,
  ]

  /// Those that take the matrices of a block together: `factorize` has them, nothing else.
  public static let blocks: [any BlockMethod.Type] = [Lorap.self, FFSplit.self]

  /// The names of the methods of `factorize`, or of `prune`.
  public static func names(makingFactors: Bool) -> [String] {
    makingFactors ? factorization.map { $0.card.name } + blocks.map { $0.card.name } : pruning.map { $0.card.name }
  }

  /// Whether a method's budgets are those of factors, else those of zeros.
  public static func makesFactors(_ name: String) -> Bool { names(makingFactors: true).contains(name) }

  /// Whether a method makes codes.
  public static func makesCodes(_ name: String) -> Bool { quantization.contains { $0.card.name == name } }

  /// Whether a method that makes codes takes budgets of zeros too.
  public static func makesZeros(_ name: String) -> Bool {
    [PlainRounding.card.name, GPTQ.card.name, GreedyRounding.card.name].contains(name)
  }

  /// The card of a method of matrices or of blocks.
  public static func card(named name: String) -> MethodCard? {
    (all.map { $0.card } + blocks.map { $0.card }).first { $0.name == name }
  }

  /// What a method has to know of the inputs; nothing of one that does not exist or does not take the parameters.
  public static func needs(of name: String, _ parameters: [String: ParameterValue]) -> StatisticsNeed {
    if let type = blocks.first(where: { $0.card.name == name }) {
      // Whatever the share.
      return (try? type.init(ReductionParameters(parameters, for: type.card), share: 1))?.needs ?? .nothing
    }
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
