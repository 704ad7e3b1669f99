/// Parts of matrices, and matrices in another precision, as copies.
extension Matrix {
  /// The rows of these numbers, in this order; each must be a row of the matrix.
  public func selecting(rows indices: [Int]) -> Matrix {
    var result: [Element] = []
    result.reserveCapacity(indices.count * columns)
    for i in indices { result += elements[i * columns..<(i + 1) * columns] }
    return Matrix(unchecked: result, rows: indices.count, columns: columns)
  }

  /// The columns of these numbers, in this order; each must be a column of the matrix.
  public func selecting(columns indices: [Int]) -> Matrix {
    var result: [Element] = []
    result.reserveCapacity(rows * indices.count)
    for i in 0..<rows { for j in indices { result.append(elements[i * columns + j]) } }
    return Matrix(unchecked: result, rows: rows, columns: indices.count)
  }
}

extension Matrix<Double> {
  public init(_ matrix: Matrix<Float>) {
    self.init(unchecked: matrix.elements.map(Double.init), rows: matrix.rows, columns: matrix.columns)
  }

  /// The matrix with column j multiplied by `factors[j]`, one for each column.
  public func scaling(columns factors: [Double]) -> Matrix {
    var result = self
    for i in 0..<rows { for j in 0..<columns { result.elements[i * columns + j] *= factors[j] } }
    return result
  }

  /// The matrix with row i multiplied by `factors[i]`, one for each row.
  public func scaling(rows factors: [Double]) -> Matrix {
    var result = self
    for i in 0..<rows { for j in 0..<columns { result.elements[i * columns + j] *= factors[i] } }
    return result
  }
}

extension Matrix<Float> {
  /// Every element rounded to nearest.
  public init(_ matrix: Matrix<Double>) {
    self.init(unchecked: matrix.elements.map { Float($0) }, rows: matrix.rows, columns: matrix.columns)
  }
}
