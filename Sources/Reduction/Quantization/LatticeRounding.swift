internal import CKernels
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// One transform of a weight that prunes and quantizes: integers times a step for each column, with a dead zone.
///
/// ```
/// q = sign floor(|w| / step_j + offset)         offset 1/2: the nearest; less: |w| < (1 - offset) step_j becomes 0
/// step_j = step * scale_j
/// ```
///
/// What an error costs at the outputs is trace(D H Dᵀ), H the damped second moment of the inputs. With H = R Rᵀ and
/// U = R⁻¹ each column's error is divided by U_jj and handed on to the columns behind it, as in ``GPTQ``:
///
///     e_j = (w_j - q_j step_j) / U_jj,  w_l -= e_j U_jl for l > j,   trace(D H Dᵀ) = sum of e²
///
/// so that every column costs alike where steps go with U_jj. That is waterfilling, near the bound of rate-distortion
/// theory (`lifar2026watersic`). Where only the diagonal of H is known or errors are not handed on, U_jj is 1 / √H_jj;
/// without statistics, 1. Scales are powers of √2, sixteen of them at most, since a reader has to be told them.
///
/// Rows are independent, so a weight may be rounded a few rows at a time. Cost with errors handed on: outputs inputs²
/// flops, and n³ for U; 4 n² bytes, and 24 n² while U is made.
public struct LatticeRounding: Sendable {
  /// Of the columns' steps, relative.
  public let scales: [Float]
  /// U, row after row; nil if errors stay where they are.
  private let inverse: [Float]?
  /// What a squared error in a column counts: 1 / U_jj².
  private let weights: [Float]

  private static let block = 128
  private static let classes = -8...7

  /// - Parameters:
  ///   - columns: inputs of the weight.
  ///   - statistics: of these inputs.
  ///   - handsOn: whether errors are handed on; only with a full moment.
  ///   - damp: a share of the mean diagonal of H that is added to it.
  /// - Throws: `matrix.shape` for statistics of other inputs, `reduction` for a singular moment.
  public init(
    columns: Int, statistics: SiteStatistics?, handsOn: Bool = true, damp: Double = 0.01,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    guard statistics.map({ $0.width == columns }) ?? true else {
      throw Problem(.matrixShape, "statistics of \(statistics?.width ?? 0) inputs for \(columns)")
    }
    var diagonal = [Double](repeating: 1, count: columns)
    var inverse: [Float]?
    if let statistics, statistics.count > 0 {
      if handsOn, case .full(let moment)? = statistics.moment {
        let factor = try InverseFactor(moment: moment, count: statistics.count, damp: damp, parallel: parallel)
        let upper = factor.upper
        diagonal = (0..<columns).map { upper[$0, $0] }
        inverse = upper.elements.map { Float($0) }
      } else {
        let scale = 2 / Double(statistics.count)
        let added = damp * scale * statistics.squareSums.reduce(0, +) / Double(max(1, columns))
        let squares = statistics.squareSums.map { $0 * scale + added }
        if added > 0 { diagonal = squares.map { 1 / $0.squareRoot() } }
      }
    }
    let middle = diagonal.reduce(0) { $0 + Self.logarithm($1) } / max(1, columns)
    scales = diagonal.map { value in
      let level = max(Self.classes.lowerBound, min(Self.classes.upperBound, Self.logarithm(value) - middle))
      return Self.power(level)
    }
    weights = diagonal.map { Float(1 / ($0 * $0)) }
    self.inverse = inverse
  }

  /// Twice the logarithm to base 2, rounded.
  private static func logarithm(_ value: Double) -> Int {
    let significand = value.significand
    let half = significand < 0x1.306fe0a31b715p+0 ? 0 : significand < 0x1.ae89f995ad3adp+0 ? 1 : 2
    return 2 * Int(value.exponent) + half
  }

  /// 2^(level / 2).
  private static func power(_ level: Int) -> Float {
    let octave = level >> 1
    return Float(sign: .plus, exponent: octave, significand: level & 1 == 1 ? Float(2).squareRoot() : 1)
  }

  public func steps(_ step: Float) -> [Float] { scales.map { $0 * step } }

  /// Rounds rows.
  ///
  /// - Parameters:
  ///   - weights: `[rows, columns]`; what they were changed to on the way, if errors are handed on.
  ///   - step: above 0.
  ///   - offset: above 0, at most 1/2.
  ///   - integers: as many.
  /// - Returns: the sum of e².
  /// - Throws: what products throw.
  @discardableResult
  public func round(
    _ weights: UnsafeMutablePointer<Float>, rows: Int, step: Float, offset: Float,
    into integers: UnsafeMutablePointer<Int32>
  ) throws(Problem) -> Double {
    let (columns, steps) = (scales.count, steps(step))
    guard let inverse else {
      es_lattice_round(weights, Int64(rows * columns), steps, Int64(columns), offset, integers)
      return es_lattice_error(
        weights, integers, Int64(rows * columns), steps, self.weights, Int64(columns))
    }
    let together = Int(ES_LATTICE_SWEEP_ROWS)
    let negated = Room<Float>(rows * Self.block)
    let room = Room<Float>(together * Self.block)
    var sum = 0.0
    try inverse.withUnsafeBufferPointer { (inverse) throws(Problem) in
      guard let upper = inverse.baseAddress else { return }
      for start in stride(from: 0, to: columns, by: Self.block) {
        let width = min(Self.block, columns - start)
        steps.withUnsafeBufferPointer { steps in
          guard let steps = steps.baseAddress else { return }
          for row in stride(from: 0, to: rows, by: together) {
            let place = row * columns + start
            sum += es_lattice_sweep(
              weights + place, Int64(columns), Int64(min(together, rows - row)), Int64(width),
              upper + start * columns + start, Int64(columns), steps + start, offset, integers + place,
              Int64(columns), negated.values + row * width, room.values)
          }
        }
        let (next, left) = (start + width, columns - start - width)
        guard left > 0 else { break }
        try MatrixProduct.multiply(
          UpperTriangle.view(negated.values, rows: rows, columns: width, stride: width),
          UpperTriangle.view(upper + start * columns + next, rows: width, columns: left, stride: columns),
          into: UpperTriangle.mutableView(weights + next, rows: rows, columns: left, stride: columns),
          accumulate: true)
      }
    }
    return sum
  }

  /// What rounding would cost if errors were not handed on, which is near what it costs if they are: the sum of e².
  ///
  /// - Parameter integers: what the weights are rounded to.
  public func preview(
    _ weights: UnsafeBufferPointer<Float>, step: Float, offset: Float,
    into integers: UnsafeMutableBufferPointer<Int32>
  ) -> Double {
    guard let source = weights.baseAddress, let target = integers.baseAddress, !scales.isEmpty else { return 0 }
    let (steps, width) = (steps(step), Int64(scales.count))
    es_lattice_round(source, Int64(weights.count), steps, width, offset, target)
    return es_lattice_error(source, target, Int64(weights.count), steps, self.weights, width)
  }

  /// The root of the mean of (w / scale_j)²: steps are chosen relative to it.
  public func scaledMean(_ weights: UnsafeBufferPointer<Float>) -> Double {
    guard !weights.isEmpty, !scales.isEmpty else { return 0 }
    var sum = 0.0
    for start in stride(from: 0, to: weights.count, by: scales.count) {
      for column in 0..<min(scales.count, weights.count - start) {
        let value = Double(weights[start + column]) / Double(scales[column])
        sum += value * value
      }
    }
    return (sum / Double(weights.count)).squareRoot()
  }

  /// The numbers that integers stand for.
  public func values(
    of integers: UnsafePointer<Int32>, rows: Int, step: Float, into values: UnsafeMutablePointer<Float>
  ) {
    es_lattice_values(integers, Int64(rows * scales.count), steps(step), Int64(scales.count), values)
  }
}
