internal import CKernels
public import EspalierBasics
public import EspalierNumerics

/// Which weights of a matrix become zero.
public struct PruningMask: Sendable, Equatable {
  public let rows: Int
  public let columns: Int
  /// Row after row: 1 where a weight goes, 0 where it stays.
  public var elements: [UInt8]

  /// Nothing goes.
  public init(rows: Int, columns: Int) {
    self.rows = rows
    self.columns = columns
    elements = [UInt8](repeating: 0, count: rows * columns)
  }

  public subscript(row: Int, column: Int) -> Bool {
    get { elements[row * columns + column] != 0 }
    set { elements[row * columns + column] = newValue ? 1 : 0 }
  }

  /// How many weights go.
  public var count: Int { elements.reduce(0) { $0 + Int($1) } }

  /// The matrix with zeros where the mask says so.
  ///
  /// - Throws: `matrix.shape` unless it has the mask's shape.
  public func applied(
    to weight: Matrix<Float>, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Matrix<Float> {
    let count = weight.elements.count
    guard rows == weight.rows, columns == weight.columns else {
      throw Problem(.matrixShape, "a mask of \(rows) x \(columns) for a matrix of \(weight.rows) x \(weight.columns)")
    }
    let part = 1 << 16
    var failure: Problem?
    let kept = [Float](unsafeUninitializedCapacity: count) { target, initialized in
      guard let target = target.baseAddress else { return }
      initialized = count
      do throws(Problem) {
        try parallel((count + part - 1) / part) { (index) throws(Problem) in
          weight.elements.withUnsafeBufferPointer { values in
            elements.withUnsafeBufferPointer { marks in
              guard let values = values.baseAddress, let marks = marks.baseAddress else { return }
              let (start, length) = (index * part, min(part, count - index * part))
              es_prune_apply(values + start, marks + start, Int64(length), target + start)
            }
          }
        }
      } catch { failure = error }
    }
    if let failure { throw failure }
    return try Matrix(rows: rows, columns: columns, elements: kept)
  }
}
