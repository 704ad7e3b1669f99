public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// A method part of whose work depends on the inputs alone: it is done once for all matrices that read them.
///
/// ``ReductionMethod/reduce(_:_:to:parallel:)`` of one matrix and of several follow from the three steps here.
public protocol SharedInputs: ReductionMethod {
  /// What is made of the statistics, such as a factor of the second moment.
  associatedtype Inputs: Sendable

  /// Refuses, before any work, a weight, statistics or a budget that do not suit the method or each other.
  func check(_ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget) throws(Problem)

  /// - Parameter statistics: such as ``check(_:_:to:)`` lets pass.
  func prepare(_ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop) throws(Problem) -> Inputs

  /// - Parameters:
  ///   - inputs: what was prepared of `statistics`.
  func reduce(
    _ weight: Matrix<Float>, _ inputs: Inputs, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix
}

extension SharedInputs {
  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    try check(weight, statistics, to: budget)
    return try reduce(weight, prepare(statistics, parallel: parallel), statistics, to: budget, parallel: parallel)
  }

  public func reduce(
    _ weights: [Matrix<Float>], _ statistics: SiteStatistics?, to budgets: [MatrixBudget],
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [ReducedMatrix] {
    try Self.checkCounts(weights, budgets)
    guard !weights.isEmpty else { return [] }
    for (weight, budget) in zip(weights, budgets) { try check(weight, statistics, to: budget) }
    let inputs = try prepare(statistics, parallel: parallel)
    return try Self.each(weights, budgets, parallel) { (weight, budget) throws(Problem) in
      try reduce(weight, inputs, statistics, to: budget, parallel: parallel)
    }
  }
}
