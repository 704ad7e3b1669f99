public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Principal components of a layer's outputs on the calibration data, folded into two weights (Chavan et al. 2024).
///
///     y = W x,   C = sum over samples of y yᵀ = U diag(l) Uᵀ,   W' = U_r (U_rᵀ W),   error² = l_(r+1) + ...
///
/// That is the least error of any W' of this rank, the same as ``WhitenedSVD`` has. With `center`, components are those
/// of y - m around the mean m = W mean(x), and what the projection takes from the mean is given back by the bias:
///
///     y' = P (y - m) + m = W' x + (1 - P) m,   P = U_r U_rᵀ
///
/// so that the error is the least of any affine map of this rank, for `outputs` more numbers. The components come from
/// singular values of W S, `X Xᵀ = S Sᵀ` (of centered x), since C squares them away.
public struct FeaturePCA: ReductionMethod {
  public static let card = MethodCard(
    name: "feature-pca", summary: "Two factors that project the outputs on their principal components.",
    source: "chavan2024rom",
    parameters: [
      ParameterCard(
        "center", .flag, default: .flag(false),
        "Whether components are those around the mean, which then goes into the bias of the layer.")
    ],
    notes: "Not centered it is the optimum that whitened-svd reaches; centered it needs a layer that has a bias.")
  public static let needs = StatisticsNeed.moment

  private let centers: Bool

  public init(_ parameters: ReductionParameters) throws(Problem) { centers = parameters.flag("center") ?? false }

  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let rank = try budget.rank(outputs: weight.rows, inputs: weight.columns, method: Self.card.name)
    let statistics = try Self.required(statistics, inputs: weight.columns)
    guard case .full(let moment)? = statistics.moment, moment.rows == weight.columns,
      moment.columns == weight.columns
    else {
      throw Problem(
        .reduction, "feature-pca needs the full second moment of \(weight.columns) inputs",
        remedy: "Calibrate with full moments, or use whitened-svd.")
    }
    let wide = Matrix<Double>(weight)
    guard centers else {
      let weighted = try MatrixProduct.product(
        wide, statistics.momentFactor(method: Self.card.name), parallel: parallel)
      let subspace = try OutputSubspace(of: wide, weighted: weighted, rank: rank, parallel: parallel)
      return try Factors.reduced(
        subspace.factors(of: wide, parallel: parallel), of: weight, statistics, floor: subspace.floor,
        parallel: parallel)
    }
    return try centered(wide, weight, statistics, moment, rank: rank, parallel: parallel)
  }

  private func centered(
    _ wide: Matrix<Double>, _ weight: Matrix<Float>, _ statistics: SiteStatistics, _ moment: Matrix<Double>,
    rank: Int, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let count = Double(statistics.count)
    let mean = statistics.sums.map { $0 / count }
    var scatter = moment
    for i in 0..<moment.rows {
      for j in 0..<moment.columns { scatter[i, j] -= count * mean[i] * mean[j] }
    }
    var around = statistics
    around.moment = .full(scatter)
    let weighted = try MatrixProduct.product(wide, around.momentFactor(method: Self.card.name), parallel: parallel)
    let subspace = try OutputSubspace(of: wide, weighted: weighted, rank: rank, parallel: parallel)
    let factors = try subspace.factors(of: wide, parallel: parallel)
    // Errors are relative to all outputs, as everywhere, not to those around the mean.
    let all = try MatrixProduct.product(wide, moment, parallel: parallel)
    let whole = max(0, zip(all.elements, wide.elements).reduce(0) { $0 + $1.0 * $1.1 }).squareRoot()
    let share = whole > 0 ? subspace.whole / whole : 0

    var reduced = try Factors.reduced(factors, of: weight, around, floor: nil, parallel: parallel)
    reduced.certificate.error *= share
    reduced.certificate.floor = share * subspace.floor
    reduced.certificate.assumptions.append("the shift of the outputs is added to the bias")
    let column = try Matrix(rows: mean.count, columns: 1, elements: mean)
    let before = try MatrixProduct.product(wide, column)
    let after = try MatrixProduct.product(
      Matrix<Double>(factors.left), MatrixProduct.product(Matrix<Double>(factors.right), column))
    reduced.outputShift = zip(before.elements, after.elements).map { Float($0 - $1) }
    reduced.storedNumbers += weight.rows
    return reduced
  }
}
