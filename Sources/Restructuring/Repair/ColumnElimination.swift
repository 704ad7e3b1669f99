internal import EspalierBasics
internal import EspalierNumerics

/// A map whose inputs leave one after the other, while those that stay make up for each by least squares.
///
/// With A the damped second moment of the inputs, taking column w_j of W out of the best map on the inputs that are left
/// costs and changes
///
///     cost_j = ‖w_j‖² / [A⁻¹]_jj
///     W ← W - w_j [A⁻¹]_j: / [A⁻¹]_jj,   A⁻¹ ← A⁻¹ - [A⁻¹]_:j [A⁻¹]_j: / [A⁻¹]_jj
///
/// which is optimal brain surgery on whole columns (Hassibi, Stork, 1992; Li et al., 2025, section 4). Several in any order
/// cost the sum, and leave what ``LeastSquaresRepair`` would. Cost: n (n + outputs) flops a column, n² + n outputs float64.
struct ColumnElimination {
  /// Wᵀ `[inputs, outputs]`; zeros where inputs left.
  private var columns: Matrix<Double>
  private var inverse: Matrix<Double>
  private var squares: [Double]
  private var isLeft: [Bool]

  /// - Returns: nil if all inputs are always 0.
  init?(
    _ weight: Matrix<Double>, moment: Matrix<Double>, damp: Double, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    guard let inverse = try LeastSquaresRepair.dampedInverse(moment, damp, parallel) else { return nil }
    self.inverse = inverse
    columns = weight.transposed
    isLeft = [Bool](repeating: true, count: weight.columns)
    squares = []
    squares = isLeft.indices.map { square(of: $0) }
  }

  /// What the error of the outputs grows by without an input.
  func cost(of place: Int) -> Double {
    isLeft[place] && inverse[place, place] > 0 ? squares[place] / inverse[place, place] : 0
  }

  /// What it grows by without several.
  func cost(of places: [Int]) -> Double {
    guard places.count > 1 else { return places.first.map { cost(of: $0) } ?? 0 }
    var copy = self
    return places.reduce(0) { $0 + copy.remove($1) }
  }

  /// - Returns: what the error grows by.
  @discardableResult mutating func remove(_ place: Int) -> Double {
    let cost = cost(of: place)
    let own = inverse[place, place]
    guard isLeft[place], own > 0 else { return 0 }
    isLeft[place] = false
    let (count, outputs) = (inverse.rows, columns.columns)
    let row = Array(inverse.elements[place * count..<(place + 1) * count])
    let column = Array(columns.elements[place * outputs..<(place + 1) * outputs])
    for other in 0..<count where isLeft[other] {
      let factor = row[other] / own
      Self.subtract(factor, row, from: &inverse.elements, at: other * count)
      squares[other] = Self.subtract(factor, column, from: &columns.elements, at: other * outputs)
    }
    return cost
  }

  /// `target[at...] -= factor * values`; returns the sum of squares of what is there then.
  @discardableResult private static func subtract(
    _ factor: Double, _ values: [Double], from target: inout [Double], at start: Int
  ) -> Double {
    var sum = 0.0
    target.withUnsafeMutableBufferPointer { target in
      for index in values.indices {
        let value = target[start + index] - factor * values[index]
        target[start + index] = value
        sum += value * value
      }
    }
    return sum
  }

  private func square(of place: Int) -> Double {
    let width = columns.columns
    return columns.elements[place * width..<(place + 1) * width].reduce(0) { $0 + $1 * $1 }
  }
}
