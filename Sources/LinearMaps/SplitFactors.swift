public import EspalierBasics
public import EspalierNumerics

/// The numbers of a ``SplitMap``: rows, or columns, that are whole, and two factors whose product the others are.
public struct SplitFactors: Sendable {
  public private(set) var axis: SplitMap.Axis
  /// Of the whole rows or columns, ascending.
  public let places: [Int]
  /// `[h, n]` of rows, `[m, h]` of columns.
  public private(set) var whole: Matrix<Float>
  /// `[m - h, r]` of rows, `[m, r]` of columns.
  public private(set) var left: Matrix<Float>
  /// `[r, n]` of rows, `[r, n - h]` of columns.
  public private(set) var right: Matrix<Float>

  /// - Throws: `matrix.shape` for shapes that do not fit together; places are checked where they are used.
  public init(
    _ axis: SplitMap.Axis, places: [Int], whole: Matrix<Float>, left: Matrix<Float>, right: Matrix<Float>
  ) throws(Problem) {
    let fits =
      axis == .rows
      ? whole.rows == places.count && whole.columns == right.columns
      : whole.columns == places.count && whole.rows == left.rows
    guard fits, left.columns == right.rows else {
      throw Problem(
        .matrixShape,
        "\(places.count) whole \(axis.rawValue) in \(whole.rows) x \(whole.columns), and factors of "
          + "\(left.rows) x \(left.columns) and \(right.rows) x \(right.columns), make no matrix")
    }
    (self.axis, self.places, self.whole, self.left, self.right) = (axis, places, whole, left, right)
  }

  public var rows: Int { axis == .rows ? places.count + left.rows : whole.rows }
  public var columns: Int { axis == .rows ? whole.columns : places.count + right.columns }
  /// Numbers of all three, places not counted.
  public var numbers: Int { whole.elements.count + left.elements.count + right.elements.count }

  /// Of the matrix with rows and columns exchanged.
  public var transposed: SplitFactors {
    var result = self
    result.axis = axis == .rows ? .columns : .rows
    (result.whole, result.left, result.right) = (whole.transposed, right.transposed, left.transposed)
    return result
  }

  /// Each number replaced by what `body` makes of its matrix.
  public func map(_ body: (Matrix<Float>) -> Matrix<Float>) -> SplitFactors {
    var result = self
    (result.whole, result.left, result.right) = (body(whole), body(left), body(right))
    return result
  }

  /// What is whole and the factor that lies with it: `[h + r, n]` of rows, `[m, h + r]` of columns.
  public var stack: Matrix<Float> {
    get throws(Problem) {
      let (rank, count) = (left.columns, places.count)
      switch axis {
      case .rows:
        return try Matrix(rows: count + rank, columns: whole.columns, elements: whole.elements + right.elements)
      case .columns:
        var elements: [Float] = []
        elements.reserveCapacity(whole.elements.count + left.elements.count)
        for row in 0..<whole.rows {
          elements += whole.elements[row * count..<(row + 1) * count]
          elements += left.elements[row * rank..<(row + 1) * rank]
        }
        return try Matrix(rows: whole.rows, columns: count + rank, elements: elements)
      }
    }
  }

  /// The other factor.
  public var factor: Matrix<Float> { axis == .rows ? left : right }

  /// The matrix whose rows or columns at `places` are those of `whole`, the others, in their order, those of `others`.
  ///
  /// - Throws: `matrix.shape` for places that are not there or not ascending, and widths that differ.
  public static func joined(
    _ axis: SplitMap.Axis, places: [Int], whole: Matrix<Float>, others: Matrix<Float>
  ) throws(Problem) -> Matrix<Float> {
    guard axis == .rows else {
      return try joined(.rows, places: places, whole: whole.transposed, others: others.transposed).transposed
    }
    let (width, rows) = (whole.columns, places.count + others.rows)
    guard whole.rows == places.count, others.columns == width else {
      throw Problem(.matrixShape, "rows of \(width) and of \(others.columns) numbers make no matrix")
    }
    var elements: [Float] = []
    elements.reserveCapacity(rows * width)
    var kept = 0
    for row in 0..<rows {
      let isWhole = kept < places.count && places[kept] == row
      let (source, index) = isWhole ? (whole, kept) : (others, row - kept)
      guard index < source.rows else {
        throw Problem(.matrixShape, "places \(places) are not ascending places of \(rows) rows")
      }
      elements += source.elements[index * width..<(index + 1) * width]
      kept += isWhole ? 1 : 0
    }
    return try Matrix(rows: rows, columns: width, elements: elements)
  }
}
