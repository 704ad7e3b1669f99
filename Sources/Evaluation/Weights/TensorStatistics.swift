internal import CKernels
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// What the elements of a tensor are like, widened to float32 (a float64 beyond its range counts as infinite).
///
/// Norms, sums and extremes are those of the finite elements; NaN and infinities are counted.
public struct TensorStatistics: Sendable, Hashable {
  public var elementCount: Int
  /// Zeros of either sign.
  public var zeroCount: Int
  public var nanCount: Int
  public var infinityCount: Int
  /// Least and greatest finite element; nil if there is none.
  public var minimum: Float?
  public var maximum: Float?
  /// Sum of the finite elements and of their squares: canonical sums in float64.
  public var sum: Double
  public var squaredNorm: Double

  public var finiteCount: Int { elementCount - nanCount - infinityCount }
  public var nonFiniteCount: Int { nanCount + infinityCount }
  /// The Euclidean (Frobenius) norm.
  public var norm: Double { squaredNorm.squareRoot() }
  /// `sqrt(sum of squares / count)` of the finite elements; 0 if there is none.
  public var rootMeanSquare: Double { finiteCount > 0 ? (squaredNorm / Double(finiteCount)).squareRoot() : 0 }
  public var mean: Double { finiteCount > 0 ? sum / Double(finiteCount) : 0 }
  /// Zeros among all elements; 0 for an empty tensor.
  public var zeroFraction: Double { elementCount > 0 ? Double(zeroCount) / Double(elementCount) : 0 }

  /// The statistics of several tensors together.
  public mutating func add(_ other: TensorStatistics) {
    elementCount += other.elementCount
    zeroCount += other.zeroCount
    nanCount += other.nanCount
    infinityCount += other.infinityCount
    minimum = [minimum, other.minimum].compactMap { $0 }.min()
    maximum = [maximum, other.maximum].compactMap { $0 }.max()
    sum += other.sum
    squaredNorm += other.squaredNorm
  }
}

extension TensorStatistics {
  /// Reads the one parameter of `scan`.
  init(_ scan: ParameterScan) throws(Problem) {
    let (sums, census) = try scan.gather(sums: 2) { (block, sums, census: inout ValueCensus) in
      census.add(ValueCensus(block.rows[0], count: block.count))
      _ = block.clearNonFinite()
      sums[0] = es_sum(block.rows[0], Int64(block.count))
      sums[1] = es_square_sum(block.rows[0], Int64(block.count))
    }
    self.init(
      elementCount: scan.elementCount, zeroCount: census.zeroCount, nanCount: census.nanCount,
      infinityCount: census.infinityCount, minimum: census.minimum > census.maximum ? nil : census.minimum,
      maximum: census.minimum > census.maximum ? nil : census.maximum, sum: sums[0], squaredNorm: sums[1])
  }
}

/// Counts and extremes of values seen so far.
struct ValueCensus: Tally {
  var zeroCount = 0
  var nanCount = 0
  var infinityCount = 0
  /// Of the finite values; infinity and minus infinity before there is one.
  var minimum = Float.infinity
  var maximum = -Float.infinity

  init() {}

  init(_ values: UnsafePointer<Float>, count: Int) {
    let census = es_take_census(values, Int64(count))
    zeroCount = Int(census.zeros)
    nanCount = Int(census.nans)
    infinityCount = Int(census.infinities)
    minimum = census.minimum
    maximum = census.maximum
  }

  /// The greatest magnitude of a finite value; 0 if there is none.
  var largestMagnitude: Float { minimum > maximum ? 0 : max(abs(minimum), abs(maximum)) }

  mutating func add(_ other: ValueCensus) {
    zeroCount += other.zeroCount
    nanCount += other.nanCount
    infinityCount += other.infinityCount
    minimum = min(minimum, other.minimum)
    maximum = max(maximum, other.maximum)
  }
}
