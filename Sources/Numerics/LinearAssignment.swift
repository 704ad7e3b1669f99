internal import CKernels
public import EspalierBasics

extension Problem.Code {
  /// Costs of an assignment that are no numbers, or no square.
  public static let assignment = Problem.Code("assignment")
}

/// Gives every row of a square matrix a column of its own, so that the sum of the chosen entries is least or greatest.
///
/// Shortest augmenting paths over reduced costs, after prices by columns and rows have settled what they can: D. F.
/// Crouse, IEEE Transactions on Aerospace and Electronic Systems 52, 2016, doi:10.1109/TAES.2016.140952, after R. Jonker
/// and A. Volgenant, Computing 38, 1987, doi:10.1007/BF02278710. Everything is float64; of equally near columns a free one
/// comes first, then the first, so that the same matrix gives the same assignment everywhere. Cost: O(n³) at the worst,
/// a few times n² where rows agree on what they want; memory: one copy of the matrix.
public enum LinearAssignment {
  /// - Parameter costs: square and finite.
  /// - Returns: the column of every row.
  /// - Throws: `assignment` for costs that are not.
  public static func minimize(_ costs: Matrix<Double>) throws(Problem) -> [Int] {
    try check(costs)
    return Paths(costs.elements, size: costs.rows).solve()
  }

  /// - Parameter gains: square and finite.
  /// - Returns: the column of every row.
  /// - Throws: `assignment` for gains that are not.
  public static func maximize(_ gains: Matrix<Double>) throws(Problem) -> [Int] {
    try check(gains)
    return Paths(gains.elements.map { -$0 }, size: gains.rows).solve()
  }

  private static func check(_ matrix: Matrix<Double>) throws(Problem) {
    guard matrix.rows == matrix.columns, matrix.rows < 1 << 30 else {
      throw Problem(.assignment, "a matrix of \(matrix.rows) x \(matrix.columns) does not pair rows with columns")
    }
    if let place = matrix.elements.firstIndex(where: { !$0.isFinite }) {
      throw Problem(
        .assignment,
        "entry (\(place / matrix.columns), \(place % matrix.columns)) of the matrix is \(matrix.elements[place])")
    }
  }
}

/// The state of one assignment.
private struct Paths {
  private let n: Int
  private let costs: [Double]
  /// Prices of rows and columns: no reduced cost `costs[i, j] - u[i] - v[j]` is negative, those of pairs are 0.
  private var u: [Double]
  private var v: [Double]
  /// The row that has each column, -1 for none, and the reverse.
  private var owners: [Int32]
  private var columns: [Int]

  init(_ costs: [Double], size: Int) {
    (n, self.costs) = (size, costs)
    (u, v) = ([Double](repeating: 0, count: size), [Double](repeating: .infinity, count: size))
    (owners, columns) = ([Int32](repeating: -1, count: size), [Int](repeating: -1, count: size))
  }

  consuming func solve() -> [Int] {
    guard n > 1 else { return n == 1 ? [0] : [] }
    settle()
    // What the path to each column costs, which row it comes from; and the same of columns that are done.
    var distances = [Double](repeating: 0, count: n)
    var rows = [Int32](repeating: -1, count: n)
    for row in 0..<n where columns[row] < 0 { augment(from: row, &distances, &rows) }
    return columns
  }

  /// Prices by the least of each column, then of each row; rows take the first column that is free at their price.
  private mutating func settle() {
    costs.withUnsafeBufferPointer { costs in
      for row in 0..<n { for column in 0..<n { v[column] = min(v[column], costs[row * n + column]) } }
      for row in 0..<n {
        var least = Double.infinity
        for column in 0..<n { least = min(least, costs[row * n + column] - v[column]) }
        u[row] = least
        for column in 0..<n where owners[column] < 0 && costs[row * n + column] - v[column] == least {
          (owners[column], columns[row]) = (Int32(row), column)
          break
        }
      }
    }
  }

  private mutating func augment(from start: Int, _ distances: inout [Double], _ rows: inout [Int32]) {
    for column in 0..<n { distances[column] = .infinity }
    var open = v
    var done: [(column: Int, distance: Double)] = []
    var row = start
    var least = 0.0
    var sink = -1
    while sink < 0 {
      least = costs.withUnsafeBufferPointer { costs in
        guard let first = costs.baseAddress else { return least }
        return es_assignment_relax(
          first + row * n, open, least - u[row], Int64(n), &distances, &rows, Int32(row))
      }
      let column = Int(es_assignment_pick(distances, least, owners, Int64(n)))
      done.append((column, least))
      (distances[column], open[column]) = (.infinity, -.infinity)
      if owners[column] < 0 { sink = column } else { row = Int(owners[column]) }
    }
    u[start] += least
    for (column, distance) in done {
      if owners[column] >= 0 { u[Int(owners[column])] += least - distance }
      v[column] -= least - distance
    }
    // Every column on the path goes to the row it was reached from.
    var column = sink
    while true {
      let row = Int(rows[column])
      owners[column] = Int32(row)
      let next = columns[row]
      columns[row] = column
      if row == start { return }
      column = next
    }
  }
}
