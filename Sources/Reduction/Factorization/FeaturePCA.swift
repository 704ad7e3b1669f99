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
public struct FeaturePCA: SharedInputs {
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

  public func check(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget
  ) throws(Problem) {
    _ = try budget.rank(outputs: weight.rows, inputs: weight.columns, method: Self.card.name)
    let statistics = try Self.required(statistics, inputs: weight.columns)
    guard case .full(let moment)? = statistics.moment, moment.rows == weight.columns,
      moment.columns == weight.columns
    else {
      throw Problem(
        .reduction, "feature-pca needs the full second moment of \(weight.columns) inputs",
        remedy: "Calibrate with full moments, or use whitened-svd.")
    }
  }

  /// The inputs, around their mean if the method centers.
  public struct Spread: Sendable {
    /// S `[inputs, any number]` with `S Sᵀ` their second moment.
    let factor: Matrix<Double>
    let statistics: SiteStatistics
    /// The mean, where it was taken off.
    let mean: [Double]?
  }

  public func prepare(
    _ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Spread {
    var statistics = try Self.required(statistics)
    var mean: [Double]?
    if centers, case .full(var scatter)? = statistics.moment {
      let count = Double(statistics.count)
      let center = statistics.sums.map { $0 / count }
      for i in 0..<scatter.rows {
        for j in 0..<scatter.columns { scatter[i, j] -= count * center[i] * center[j] }
      }
      statistics.moment = .full(scatter)
      mean = center
    }
    return Spread(
      factor: try statistics.momentFactor(method: Self.card.name), statistics: statistics, mean: mean)
  }

  public func reduce(
    _ weight: Matrix<Float>, _ spread: Spread, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let rank = try budget.rank(outputs: weight.rows, inputs: weight.columns, method: Self.card.name)
    let wide = Matrix<Double>(weight)
    let weighted = try MatrixProduct.product(wide, spread.factor, parallel: parallel)
    let subspace = try OutputSubspace(of: wide, weighted: weighted, rank: rank, parallel: parallel)
    let factors = try subspace.factors(of: wide, parallel: parallel)
    guard let mean = spread.mean, case .full(let moment)? = statistics?.moment else {
      return try Factors.reduced(factors, of: weight, statistics, floor: subspace.floor, parallel: parallel)
    }
    // Errors are relative to all outputs, as everywhere, not to those around the mean.
    let all = try MatrixProduct.product(wide, moment, parallel: parallel)
    let whole = max(0, zip(all.elements, wide.elements).reduce(0) { $0 + $1.0 * $1.1 }).squareRoot()
    let share = whole > 0 ? subspace.whole / whole : 0

    var reduced = try Factors.reduced(factors, of: weight, spread.statistics, floor: nil, parallel: parallel)
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
