public import EspalierBasics
public import EspalierNumerics

/// One magnitude for several matrices, below which weights go, so that all together lose a share.
///
/// Matrices are seen one at a time, three times each; memory is one matrix and 512 KiB. The cut is exact: what has the
/// cut's own magnitude goes by matrix and index until the share is reached.
public struct GlobalMagnitudeCut: Sendable, Equatable {
  /// What one matrix loses.
  public struct Cut: Sendable, Equatable {
    /// Weights of less magnitude go.
    public var threshold: Float
    /// So many weights of just this magnitude go too, the first ones.
    public var ties: Int
    /// Weights that go in all.
    public var count: Int
  }

  public let cuts: [Cut]

  /// - Parameters:
  ///   - count: how many matrices there are.
  ///   - sparsity: the share of all weights that goes, `Int(total * sparsity)` of them.
  ///   - elements: the weights of matrix i; the same each time.
  /// - Throws: `reduction` for a share outside 0 to 1, `linear-algebra.non-finite` for a weight that is not finite, what
  ///   `elements` throws.
  public init(
    over count: Int, sparsity: Double, elements: (Int) throws(Problem) -> [Float]
  ) throws(Problem) {
    try PruningPattern.check(share: sparsity)
    // Magnitudes of finite floats ascend with their bits: the upper half of those is found first, then the lower.
    var upper = [Int](repeating: 0, count: 1 << 16)
    var total = 0
    for index in 0..<count {
      let values = try elements(index)
      if let place = values.firstIndex(where: { !$0.isFinite }) {
        throw Problem(.nonFiniteMatrix, "\(values[place]) at element \(place) of matrix \(index)")
      }
      for value in values { upper[Int(value.magnitude.bitPattern >> 16)] += 1 }
      total += values.count
    }
    let target = Int(Double(total) * sparsity)
    guard target > 0 else {
      cuts = [Cut](repeating: Cut(threshold: 0, ties: 0, count: 0), count: count)
      return
    }
    let (high, before) = Self.find(target, in: upper)
    var lower = [Int](repeating: 0, count: 1 << 16)
    for index in 0..<count {
      for value in try elements(index) where Int(value.magnitude.bitPattern >> 16) == high {
        lower[Int(value.magnitude.bitPattern & 0xFFFF)] += 1
      }
    }
    let (low, beforeLow) = Self.find(target - before, in: lower)
    let threshold = Float(bitPattern: UInt32(high) << 16 | UInt32(low))
    var ties = target - before - beforeLow
    var cuts: [Cut] = []
    for index in 0..<count {
      var (less, equal) = (0, 0)
      for value in try elements(index) {
        if value.magnitude < threshold { less += 1 } else if value.magnitude == threshold { equal += 1 }
      }
      let taken = min(ties, equal)
      ties -= taken
      cuts.append(Cut(threshold: threshold, ties: taken, count: less + taken))
    }
    self.cuts = cuts
  }

  /// The bin that holds the element of ascending number `target` (from 1), and how many lie in the bins before it.
  private static func find(_ target: Int, in bins: [Int]) -> (bin: Int, before: Int) {
    var before = 0
    for (bin, count) in bins.enumerated() {
      if before + count >= target { return (bin, before) }
      before += count
    }
    return (bins.count - 1, before)
  }

  /// The share of a matrix of `elements` weights that ``MagnitudePruning`` with scope layer removes just the same weights
  /// at: `Int(elements * share)` is the cut's count.
  public func budget(of index: Int, elements: Int) -> MatrixBudget {
    let count = cuts[index].count
    // In the middle between two counts, where no rounding reaches the next.
    return .sparsity(count == elements ? 1 : (Double(count) + 0.5) / Double(elements))
  }

  /// Matrix `index` with zeros where it is cut.
  public func applied(to weight: Matrix<Float>, index: Int) -> Matrix<Float> {
    var result = weight
    var ties = cuts[index].ties
    for place in result.elements.indices {
      let magnitude = result.elements[place].magnitude
      if magnitude < cuts[index].threshold {
        result.elements[place] = 0
      } else if magnitude == cuts[index].threshold, ties > 0 {
        result.elements[place] = 0
        ties -= 1
      }
    }
    return result
  }
}
