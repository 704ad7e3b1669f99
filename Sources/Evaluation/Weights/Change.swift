internal import EspalierBasics

/// How far B is from A, over one tensor or several: sums, so that tensors add up to layers and models.
///
/// The difference `B - A` is taken in float32, sums in float64. Where either is NaN or infinite, the element is counted
/// as such and otherwise left out: as if both were 0.
public struct Change: Sendable, Hashable {
  public var elementCount = 0
  /// Elements that are NaN or infinite in either model.
  public var nonFiniteCount = 0
  /// Elements that differ in value (0 and -0 do not).
  public var changedCount = 0
  /// Elements with |B - A| below ``nearZero`` times the largest |B - A| of their tensor, unchanged ones included.
  public var nearZeroCount = 0
  public var squaredNormA = 0.0
  public var squaredNormB = 0.0
  /// Sum of the products of A and B.
  public var dot = 0.0
  /// `‖B - A‖²`.
  public var squaredNorm = 0.0
  /// The largest |B - A|.
  public var largest: Float = 0

  /// Below this part of a tensor's largest change, a change counts as nearly zero.
  public static let nearZero: Float = 1e-3

  public init() {}

  /// `‖B - A‖ / ‖A‖`; 0 if both are 0, infinite if A alone is.
  public var relativeChange: Double {
    squaredNorm == 0 ? 0 : squaredNorm.squareRoot() / squaredNormA.squareRoot()
  }
  /// The cosine of the angle between A and B; nil if one of them is 0.
  public var cosine: Double? { EspalierEvaluation.cosine(dot, squaredNormA, squaredNormB) }
  public var changedFraction: Double { fraction(changedCount, of: elementCount) }
  /// The share of the update that is nearly zero: how sparse it is.
  public var nearZeroFraction: Double { fraction(nearZeroCount, of: elementCount) }

  public mutating func add(_ other: Change) {
    elementCount += other.elementCount
    nonFiniteCount += other.nonFiniteCount
    changedCount += other.changedCount
    nearZeroCount += other.nearZeroCount
    squaredNormA += other.squaredNormA
    squaredNormB += other.squaredNormB
    dot += other.dot
    squaredNorm += other.squaredNorm
    largest = max(largest, other.largest)
  }
}

/// How the updates `A - base` and `B - base` get along, over one tensor or several.
///
/// The differences are taken in float32, sums in float64. Elements that are NaN or infinite in any of the three count
/// as no update. Opposed signs are what TIES elects between (Yadav et al. 2023).
public struct UpdateConflict: Sendable, Hashable {
  public var elementCount = 0
  /// Elements that both updates change.
  public var bothCount = 0
  /// Of these, the ones that they change in opposite directions.
  public var opposedCount = 0
  public var squaredNormA = 0.0
  public var squaredNormB = 0.0
  /// Sum of the products of the two updates.
  public var dot = 0.0

  public init() {}

  /// Opposed elements among all.
  public var opposedFraction: Double { fraction(opposedCount, of: elementCount) }
  /// Opposed elements among those that both change: one half for updates that know nothing of each other.
  public var opposedShare: Double { fraction(opposedCount, of: bothCount) }
  /// The cosine of the angle between the updates; nil if one of them is 0.
  public var cosine: Double? { EspalierEvaluation.cosine(dot, squaredNormA, squaredNormB) }

  public mutating func add(_ other: UpdateConflict) {
    elementCount += other.elementCount
    bothCount += other.bothCount
    opposedCount += other.opposedCount
    squaredNormA += other.squaredNormA
    squaredNormB += other.squaredNormB
    dot += other.dot
  }
}

private func fraction(_ part: Int, of whole: Int) -> Double { whole > 0 ? Double(part) / Double(whole) : 0 }

/// Rounding may not take it out of -1 ... 1.
private func cosine(_ dot: Double, _ squaredNormA: Double, _ squaredNormB: Double) -> Double? {
  guard squaredNormA > 0, squaredNormB > 0 else { return nil }
  return min(1, max(-1, dot / (squaredNormA.squareRoot() * squaredNormB.squareRoot())))
}
