internal import EspalierBasics
internal import EspalierReduction

/// What treats the matrices that are reduced.
enum ReductionTreatment: Sendable {
  /// Each matrix by itself.
  case ofMatrices(any ReductionMethod)
  /// Those of a block together.
  case ofBlocks(any BlockMethod)

  /// - Throws: `reduction` for a name that no method has, parameters that its card does not allow, and a budget that a
  ///   method of blocks does not take.
  init(_ request: ReductionRequest) throws(Problem) {
    if BlockReduction.isMethod(request.method) {
      self = .ofBlocks(try BlockReduction.method(request))
    } else {
      let type = try ReductionMethods.method(named: request.method)
      self = .ofMatrices(try type.init(ReductionParameters(request.parameters, for: type.card)))
    }
  }

  var needs: StatisticsNeed {
    switch self {
    case .ofMatrices(let method): method.needs
    case .ofBlocks(let method): method.needs
    }
  }

  var blockMethod: (any BlockMethod)? { if case .ofBlocks(let method) = self { method } else { nil } }
}
