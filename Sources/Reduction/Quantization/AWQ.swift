internal import CKernels
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierLinearMaps
public import EspalierNumerics

/// Scales columns up before they are rounded, where their inputs are large, and inputs down by as much.
///
/// ```
/// W' = Q(W diag(s)) diag(s)⁻¹,  s_j = max(a_j^r, 1e-4) / sqrt(max s min s),  a_j = mean |x_j|,  r = 0, 1/20 ... 19/20
/// s_j = a_j^r / (b_j^(1 - r) + 1e-4),  b_j = mean over outputs of |w| / max |w| of its group           with `duo`
/// ```
///
/// The r of the least error of the outputs is taken; of equal ones the least. With the second moment M of the inputs that
/// is trace((W - W') M (W - W')ᵀ), no rows are needed; without it M is its diagonal. Then, with `clip`, each group of a
/// row is clamped to 1, 19/20 ... 11/20 of its largest magnitude, by the least error of its own share of the output; that
/// is kept only if the error of the whole outputs falls too. Source: equations 4 and 5; the factor, `duo` and clipping as
/// in the authors' code.
///
/// The result has s as ``QuantizedMatrix/inputScales``. Cost: 20 times rounding and 2 outputs inputs² flops.
public struct AWQ: InputScaling {
  public static let card = MethodCard(
    name: "awq", summary: "Rounds weights whose columns were scaled by the size of their inputs.", source: "lin2024awq",
    parameters: Quantization.parameters() + [
      ParameterCard("duo", .flag, default: .flag(false), "whether the size of weights counts beside that of inputs"),
      ParameterCard("clip", .flag, default: .flag(true), "whether groups are clamped where that helps the outputs"),
    ],
    notes: """
      The authors choose one s for all matrices that share an input, by the error of their block's output; the method sees \
      one matrix, and what calls it for several gives their common s. Clipping is undone where the whole loses by it.
      """)
  public static let needs = StatisticsNeed.columns
  /// The full moment, so that errors are those of the outputs.
  public var needs: StatisticsNeed { .moment }

  let grid: IntegerGrid
  private let isDuo: Bool
  private let clips: Bool

  public init(_ parameters: ReductionParameters) throws(Problem) {
    grid = try Quantization.grid(parameters)
    isDuo = parameters.flag("duo") ?? false
    clips = parameters.flag("clip") ?? true
  }

  /// Where groups are clamped, a thread has the errors of one group of every row, twice, and the moment of its inputs.
  public func workingBytes(_ shapes: [(outputs: Int, inputs: Int)], threads: Int) -> Int {
    let clipping = shapes.reduce(0) { sum, shape in
      let length = grid.groupLength(of: shape.inputs)
      return sum + 16 * (shape.outputs + 2 * length) * min(shape.inputs, threads * length)
    }
    return Quantization.workingBytes(shapes, grid, copies: 4) + (clips ? clipping : 0)
  }

  /// The s of least error for matrices that read the same inputs: the sum of their squared errors.
  ///
  /// - Parameters:
  ///   - weights: `[outputs, inputs]`, one at least.
  ///   - sharing: columns of one number count as their mean does, and get one s.
  /// - Throws: `reduction` without statistics, `matrix.shape`, `linear-algebra.non-finite`.
  public func inputScales(
    of weights: [Matrix<Float>], _ statistics: SiteStatistics?, sharing: [Int]? = nil,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> [Float] {
    let known = try self.known(statistics, for: weights, sharing: sharing)
    let means = known.absoluteMeans.pooled(sharing)
    let relative = isDuo ? relativeSizes(weights).pooled(sharing) : []
    var best: (error: Double, scales: [Float])?
    for step in 0..<20 {
      let scales = self.scales(Double(step) / 20, means, relative)
      var error = 0.0
      for weight in weights {
        let rounded = try rounded(weight, scales, known, parallel)
        error += try Self.squaredError(rounded.materialized(), weight, known, parallel)
      }
      if best == nil || error < best?.error ?? 0 { best = (error, scales) }
    }
    return best?.scales ?? []
  }

  /// Q(W diag(s)), with clipping if that is asked for.
  public func quantized(
    _ weight: Matrix<Float>, inputScales: [Float], _ statistics: SiteStatistics?,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> QuantizedMatrix {
    let known = try Pruning.statistics(statistics, for: weight, method: Self.card.name)
    guard inputScales.count == weight.columns else {
      throw Problem(.matrixShape, "\(inputScales.count) scales of inputs for \(weight.columns)")
    }
    let plain = try rounded(weight, inputScales, known, parallel)
    guard clips, grid.sharing != .matrix, !weight.elements.isEmpty else { return plain }
    let clipped = try WeightClipping(
      weight: weight.scaled(columns: inputScales), grid: grid, inputScales: inputScales,
      importance: importance(known, inputScales), statistics: known
    ).best(parallel)
    var result = try grid.rounded(clipped, importance: importance(known, inputScales), parallel: parallel)
    result.inputScales = inputScales
    let errors = (
      try Self.squaredError(plain.materialized(), weight, known, parallel),
      try Self.squaredError(result.materialized(), weight, known, parallel)
    )
    return errors.1 < errors.0 ? result : plain
  }

  private func rounded(
    _ weight: Matrix<Float>, _ scales: [Float], _ statistics: SiteStatistics, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> QuantizedMatrix {
    var result = try grid.rounded(
      weight.scaled(columns: scales), importance: importance(statistics, scales), parallel: parallel)
    result.inputScales = scales
    return result
  }

  /// Of columns that are multiplied by s the inputs are divided by it.
  private func importance(_ statistics: SiteStatistics, _ scales: [Float]) -> [Double]? {
    Quantization.importance(statistics)?.enumerated().map { $1 / (Double(scales[$0]) * Double(scales[$0])) }
  }

  private func scales(_ power: Double, _ means: [Double], _ relative: [Double]) -> [Float] {
    var scales = means.map { max(Elementary.power($0, power), 1e-4) }
    if isDuo {
      for j in scales.indices {
        scales[j] = max(Elementary.power(means[j], power) / (Elementary.power(relative[j], 1 - power) + 1e-4), 1e-4)
      }
    }
    let middle = ((scales.max() ?? 1) * (scales.min() ?? 1)).squareRoot()
    return scales.map { Float($0 / middle) }
  }

  /// The mean over outputs of |w| / max |w| of its group, by column.
  private func relativeSizes(_ weights: [Matrix<Float>]) -> [Double] {
    let columns = weights[0].columns
    let length = grid.groupLength(of: columns)
    var sums = [Double](repeating: 0, count: columns)
    for weight in weights {
      for row in 0..<weight.rows {
        for start in stride(from: 0, to: columns, by: length) {
          let group = start..<min(columns, start + length)
          let most = group.reduce(Float(0)) { max($0, weight[row, $1].magnitude) }
          guard most > 0 else { continue }
          for j in group { sums[j] += Double(weight[row, j].magnitude / most) }
        }
      }
    }
    let rows = weights.reduce(0) { $0 + $1.rows }
    return sums.map { $0 / Double(max(1, rows)) }
  }

  /// trace(D M Dᵀ), with M its diagonal unless it is known.
  static func squaredError(
    _ changed: Matrix<Float>, _ weight: Matrix<Float>, _ statistics: SiteStatistics,
    _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Double {
    let squares = OutputSquares(original: weight, changed: changed)
    guard case .full(let moment)? = statistics.moment else {
      return try squares.sums(weights: statistics.squareSums, parallel).error
    }
    return try squares.sums(moment: moment, wantsWhole: false, parallel).error
  }
}

extension Matrix<Float> {
  /// W diag(s), rounded to float32.
  func scaled(columns scales: [Float]) -> Matrix<Float> {
    var result = self
    result.elements.withUnsafeMutableBufferPointer { elements in
      guard let base = elements.baseAddress else { return }
      for row in 0..<rows { es_codes_multiply(base + row * columns, scales, Int64(columns)) }
    }
    return result
  }
}
