public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// Ranks for several matrices out of one budget of numbers, by what each rank keeps (LoRAP, Li et al. 2024, gives value
/// and output projections more than query and key since they are further from low rank; here that is measured).
public enum RankAllocation {
  /// What one matrix has to offer.
  public struct Spectrum: Sendable {
    public var outputs: Int
    public var inputs: Int
    /// Singular values of the (weighted) matrix, descending.
    public var values: [Double]

    public init(outputs: Int, inputs: Int, values: [Double]) {
      self.outputs = outputs
      self.inputs = inputs
      self.values = values
    }

    /// The spectrum that decides what is left at each rank.
    ///
    /// - Throws: `reduction` for statistics that are missing or saw nothing; `matrix.shape`; as
    ///   ``LinearAlgebra/svd(_:)``.
    public init(
      of weight: Matrix<Float>, _ statistics: SiteStatistics?, weighing: Weighing,
      parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
    ) throws(Problem) {
      (outputs, inputs) = (weight.rows, weight.columns)
      var matrix = Matrix<Double>(weight)
      if weighing != .nothing {
        guard let statistics else { throw Problem(.reduction, "ranks need statistics to weigh inputs by") }
        try statistics.check(inputs: inputs, method: "ranks")
        if weighing == .norms {
          matrix = matrix.scaling(columns: statistics.rootMeanSquares)
        } else {
          matrix = try MatrixProduct.product(matrix, statistics.momentFactor(method: "ranks"), parallel: parallel)
        }
      }
      let found = try LinearAlgebra.singularValues(matrix)
      values = found.isEmpty && min(outputs, inputs) > 0 ? [0] : found
    }
  }

  /// What the inputs of a matrix count for in its singular values: nothing (``PlainSVD``), by their norms
  /// (``ActivationWeightedSVD``), by their second moment (``WhitenedSVD``).
  public enum Weighing: Sendable { case nothing, norms, moment }

  /// Each matrix's rank, at least 1, such that the sum of the squared relative errors is least.
  ///
  ///     maximize sum over i of sum over r <= r_i of s_ir² / ‖s_i‖²   with   sum of r_i (outputs_i + inputs_i) <= numbers
  ///
  /// Ranks are taken in the order of what they keep for each number they cost, until the next does not fit. Since a
  /// matrix's ranks keep less and less, that is the optimum for the numbers that were taken (beyond the first rank of
  /// each), and for the budget itself if all matrices have one shape; otherwise less than one rank is left over.
  ///
  /// - Throws: `reduction` if the numbers do not pay for one rank each, or values are negative, rising or not finite.
  public static func ranks(_ spectra: [Spectrum], numbers: Int) throws(Problem) -> [Int] {
    var left = numbers
    for (i, spectrum) in spectra.enumerated() {
      let values = spectrum.values
      guard !values.isEmpty, values.count <= min(spectrum.outputs, spectrum.inputs),
        values.allSatisfy({ $0 >= 0 && $0.isFinite }), zip(values, values.dropFirst()).allSatisfy(>=)
      else {
        throw Problem(
          .reduction, "matrix \(i) of \(spectrum.outputs) x \(spectrum.inputs) needs singular values, descending")
      }
      left -= spectrum.outputs + spectrum.inputs
    }
    guard left >= 0 else {
      throw Problem(
        .reduction, "\(numbers) numbers do not pay for one rank of each of \(spectra.count) matrices",
        remedy: "They take \(numbers - left).")
    }
    var items: [(gain: Double, matrix: Int)] = []
    for (i, spectrum) in spectra.enumerated() {
      let largest = spectrum.values[0]
      // Divided by the largest, so that squares neither overflow nor vanish.
      let energies = spectrum.values.map { largest > 0 ? ($0 / largest) * ($0 / largest) : 0 }
      let whole = max(1, energies.reduce(0, +))
      let cost = Double(spectrum.outputs + spectrum.inputs)
      items += energies.dropFirst().map { ($0 / whole / cost, i) }
    }
    var ranks = [Int](repeating: 1, count: spectra.count)
    for index in Ranking.descending(items.map(\.gain)) {
      let matrix = items[index].matrix
      let cost = spectra[matrix].outputs + spectra[matrix].inputs
      guard cost <= left else { break }
      left -= cost
      ranks[matrix] += 1
    }
    return ranks
  }
}
