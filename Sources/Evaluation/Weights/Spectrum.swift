public import EspalierBasics
public import EspalierNumerics

/// What the singular values of a matrix say about its rank.
public struct Spectrum: Sendable, Hashable {
  public enum Method: String, Sendable, Hashable {
    /// Every singular value, in float64.
    case complete
    /// The leading ``leadingCount`` values by a randomized method, for matrices whose smaller side exceeds
    /// ``largestComplete``. They are estimates from below; see ``LinearAlgebra``.
    case randomized
  }

  public var method: Method
  /// Singular values computed.
  public var count: Int
  public var largest: Double
  /// The smallest of all min(rows, columns), nil where not all were computed.
  public var smallest: Double?
  /// `‖A‖_F² / s_1²`, with the norm from the elements: between 1 and the rank, 0 for a zero matrix; with the randomized
  /// method an estimate from above.
  public var stableRank: Double
  /// The least r whose leading r values hold 90 % of the sum of squares; nil if it lies beyond those computed. With the
  /// randomized method an upper bound, but for rounding.
  public var energyRank90: Int?
  /// The same for 99 %.
  public var energyRank99: Int?

  /// The largest smaller side of a matrix whose singular values are all computed.
  public static let largestComplete = 2048
  /// Values computed by the randomized method.
  public static let leadingCount = 256
  /// On pure noise (normal, 4096 x 4096), whose values decay slowest, four leave the largest value 1 % low and the
  /// stable rank 2 % high; two leave 3 % and 6 %.
  private static let powerIterations = 4

  /// - Parameter parallel: the loop for products of the randomized method; it changes no bit of the result.
  /// - Throws: what ``LinearAlgebra`` throws: NaN or infinity, no convergence, a matrix too large for LAPACK.
  public init(
    of matrix: Matrix<Double>, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    let isComplete = min(matrix.rows, matrix.columns) <= Self.largestComplete
    let values =
      isComplete
      ? try LinearAlgebra.singularValues(matrix)
      : try LinearAlgebra.randomizedSVD(
        matrix, rank: Self.leadingCount, powerIterations: Self.powerIterations, gaussian: Self.randomSign,
        parallel: parallel
      ).values
    let energy = isComplete ? values.reduce(0) { $0 + $1 * $1 } : matrix.elements.reduce(0) { $0 + $1 * $1 }
    self.init(values, isComplete: isComplete, energy: energy)
  }

  /// - Parameters:
  ///   - values: descending; not all if not `isComplete`.
  ///   - energy: the sum of squares of all values.
  init(_ values: [Double], isComplete: Bool, energy: Double) {
    method = isComplete ? .complete : .randomized
    count = values.count
    largest = values.first ?? 0
    smallest = isComplete ? values.last : nil
    stableRank = largest > 0 ? energy / (largest * largest) : 0
    energyRank90 = Self.energyRank(values, fraction: 0.9, energy: energy)
    energyRank99 = Self.energyRank(values, fraction: 0.99, energy: energy)
  }

  /// As ``LinearAlgebra/energyRank(_:fraction:)``, for a known sum of squares.
  private static func energyRank(_ values: [Double], fraction: Double, energy: Double) -> Int? {
    guard energy > 0 else { return 0 }
    var sum = 0.0
    return values.firstIndex { value in
      sum += value * value
      return sum >= fraction * energy
    }.map { $0 + 1 }
  }

  /// Element `index` of a matrix of independent random signs, by the finisher of SplitMix64 (Steele, Lea, Flood 2014).
  /// Signs are sub-Gaussian, which is all the range finder asks (Martinsson, Tropp 2020, section 8.3), and need no
  /// function whose bits differ between C libraries.
  static func randomSign(_ index: Int) -> Double {
    var word = (UInt64(truncatingIfNeeded: index) &+ 1) &* 0x9e37_79b9_7f4a_7c15
    word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
    word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
    return (word ^ word >> 31) & 1 == 0 ? 1 : -1
  }

  /// Bytes that a spectrum takes at most while it is computed, the matrix included; saturating.
  static func workingBytes(rows: Int, columns: Int) -> Int {
    let (m, n) = (Double(rows), Double(columns))
    let small = min(m, n)
    let doubles =
      small <= Double(largestComplete)
      // The matrix, LAPACK's copy (or the plain algorithm's copy and vectors), its workspace.
      ? (LinearAlgebra.isAvailable ? 2 : 4) * m * n + 4 * small * small + 64 * (m + n)
      // The matrix, and bases and products of leadingCount and some columns.
      : m * n + 10 * Double(leadingCount + 16) * (m + n)
    return Int(exactly: (8 * doubles).rounded(.up)) ?? .max
  }
}
