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

  /// As ``ReductionMethod/workingBytes(_:threads:)``, of a method of blocks for the matrices of one site.
  func workingBytes(_ shapes: [(outputs: Int, inputs: Int)], threads: Int) -> Int {
    if case .ofMatrices(let method) = self { return method.workingBytes(shapes, threads: threads) }
    let width = shapes.reduce(0) { max($0, $1.inputs) }
    return 40 * shapes.reduce(0) { $0 + $1.outputs * $1.inputs } + 24 * width * width
  }

  var blockMethod: (any BlockMethod)? { if case .ofBlocks(let method) = self { method } else { nil } }
}
