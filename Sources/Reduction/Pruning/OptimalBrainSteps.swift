public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// A method that takes steps on the weights of one row after another, each the one whose loss the others can best make up
/// for, by the inverse H⁻¹ `[inputs, inputs]` of the inputs' damped second moment.
public protocol OptimalBrainSteps: SharedInputs where Inputs == Matrix<Double> {
  /// What is added to the moment's diagonal, by its mean.
  var damp: Double { get }
}

extension OptimalBrainSteps {
  public func check(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget
  ) throws(Problem) {
    try Quantization.checkZeros(budget, for: weight, Self.card.name)
    try Pruning.check(weight)
    _ = try Pruning.moment(statistics, for: weight, method: Self.card.name)
  }

  public func prepare(
    _ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Matrix<Double> {
    let (moment, count) = try Pruning.moment(statistics, method: Self.card.name)
    return try InverseFactor(moment: moment, count: count, damp: damp, parallel: parallel).inverse(parallel: parallel)
  }

  /// H⁻¹ with the factor that it is made of, and what the steps of a row change of it, a row a thread.
  public func workingBytes(_ shapes: [(outputs: Int, inputs: Int)], threads: Int) -> Int {
    let width = shapes.reduce(0) { max($0, $1.inputs) }
    return 40 * shapes.reduce(0) { $0 + $1.outputs * $1.inputs } + (16 + 8 * threads) * width * width
  }
}
