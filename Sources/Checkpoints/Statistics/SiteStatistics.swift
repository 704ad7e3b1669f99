public import EspalierNumerics

/// What calibration text says about the rows x of `width` numbers that reach one site of a network (query, key and value
/// share one). Sums, so that parts add up.
public struct SiteStatistics: Sendable {
  public let width: Int
  /// Rows seen.
  public var count: Int
  /// Sum of x, of x² and of |x|, by column.
  public var sums: [Double]
  public var squareSums: [Double]
  public var absoluteSums: [Double]
  public var moment: SecondMoment?

  public init(width: Int) {
    self.width = width
    count = 0
    sums = [Double](repeating: 0, count: width)
    squareSums = sums
    absoluteSums = sums
    moment = nil
  }

  /// The root of the mean of x², by column; 0 where nothing was seen.
  public var rootMeanSquares: [Double] { squareSums.map { count == 0 ? 0 : ($0 / Double(count)).squareRoot() } }
  /// The mean of |x|, by column.
  public var absoluteMeans: [Double] { absoluteSums.map { count == 0 ? 0 : $0 / Double(count) } }
}

/// The sum of x xᵀ over rows x, in float64: in float32 it loses what lies below 1e-4 of its largest singular value.
public enum SecondMoment: Sendable {
  /// `[width, width]`, both halves.
  case full(Matrix<Double>)
  /// Squares along the diagonal, in order; what lies beyond them was not kept.
  case blocks([Matrix<Double>])
  /// S `[rows, width]` with Sᵀ S near the sum: projections of the rows seen.
  case sketch(Matrix<Double>)
}
