public import EspalierBasics

/// A vector of few numbers that are not zero.
public struct SparseVector: Sendable, Hashable {
  /// Ascending, from 0 to less than 2^31.
  public let indices: [Int]
  /// Finite, one for each index.
  public let values: [Double]

  /// - Throws: `matrix.shape` if the counts differ or the indices do not ascend within 0 ..< 2^31;
  ///   `linear-algebra.non-finite`.
  public init(indices: [Int], values: [Double]) throws(Problem) {
    guard indices.count == values.count, (indices.first ?? 0) >= 0, (indices.last ?? 0) < 1 << 31,
      zip(indices, indices.dropFirst()).allSatisfy(<)
    else {
      throw Problem(
        .matrixShape,
        "\(values.count) values at \(indices.count) indices, which must be as many and ascend within 0 ..< 2^31")
    }
    if let index = values.firstIndex(where: { !$0.isFinite }) {
      throw Problem(.nonFiniteMatrix, "\(values[index]) at index \(indices[index]) of a sparse vector")
    }
    self.indices = indices
    self.values = values
  }

  /// The unit vector along an axis that is not negative.
  init(axis: Int) {
    indices = [axis]
    values = [1]
  }

  /// The least length that holds it.
  public var length: Int { (indices.last ?? -1) + 1 }

  public static func dot(_ a: SparseVector, _ b: SparseVector) -> Double {
    var (i, j, sum) = (0, 0, 0.0)
    while i < a.indices.count, j < b.indices.count {
      if a.indices[i] == b.indices[j] {
        sum += a.values[i] * b.values[j]
        i += 1
        j += 1
      } else if a.indices[i] < b.indices[j] {
        i += 1
      } else {
        j += 1
      }
    }
    return sum
  }
}
