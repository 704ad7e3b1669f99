public import EspalierBasics

extension Problem.Code {
  /// Shapes of matrices that do not fit together, or do not fit the elements given.
  public static let matrixShape = Problem.Code("matrix.shape")
}

/// A dense matrix that owns its elements, row after row: element (i, j) is `elements[i * columns + j]`.
public struct Matrix<Element: Sendable>: Sendable {
  public let rows: Int
  public let columns: Int
  public var elements: [Element]

  /// - Throws: `matrix.shape` if there are not `rows * columns` elements.
  public init(rows: Int, columns: Int, elements: [Element]) throws(Problem) {
    let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
    guard rows >= 0, columns >= 0, !overflow, count == elements.count else {
      throw Problem(.matrixShape, "\(elements.count) elements do not make a matrix of \(rows) x \(columns)")
    }
    self.init(unchecked: elements, rows: rows, columns: columns)
  }

  init(unchecked elements: [Element], rows: Int, columns: Int) {
    self.rows = rows
    self.columns = columns
    self.elements = elements
  }

  /// A matrix whose elements are all `value`.
  init(repeating value: Element, rows: Int, columns: Int) {
    self.init(unchecked: [Element](repeating: value, count: rows * columns), rows: rows, columns: columns)
  }

  public subscript(row: Int, column: Int) -> Element {
    get { elements[row * columns + column] }
    set { elements[row * columns + column] = newValue }
  }

  /// The matrix with rows and columns exchanged, copied.
  public var transposed: Matrix {
    var result = elements
    for i in 0..<rows {
      for j in 0..<columns { result[j * rows + i] = elements[i * columns + j] }
    }
    return Matrix(unchecked: result, rows: columns, columns: rows)
  }

  /// Lends the matrix as an operand of ``MatrixProduct``.
  public func withView<Result>(_ body: (MatrixView<Element>) throws(Problem) -> Result) throws(Problem) -> Result {
    try elements.withUnsafeBufferPointer { (buffer) throws(Problem) in
      try body(MatrixView(buffer, rows: rows, columns: columns))
    }
  }
}

extension Matrix: Equatable where Element: Equatable {}

/// A matrix read in place: an operand of ``MatrixProduct``. Valid while the memory beneath it is.
public struct MatrixView<Element> {
  public let rows: Int
  public let columns: Int
  package let elements: UnsafePointer<Element>?
  /// Elements from one stored row to the next.
  package let stride: Int
  /// Whether the stored rows are this matrix's columns.
  package let isTransposed: Bool

  /// Element (i, j) is `elements[i * stride + j]`; `stride` is `columns` unless given.
  ///
  /// - Throws: `matrix.shape` if the elements do not reach so far or the rows overlap.
  public init(_ elements: UnsafeBufferPointer<Element>, rows: Int, columns: Int, stride: Int? = nil) throws(Problem) {
    try checkLayout(count: elements.count, rows: rows, columns: columns, stride: stride ?? columns)
    self.init(rows: rows, columns: columns, elements.baseAddress, stride: stride ?? columns, isTransposed: false)
  }

  private init(rows: Int, columns: Int, _ elements: UnsafePointer<Element>?, stride: Int, isTransposed: Bool) {
    self.rows = rows
    self.columns = columns
    self.elements = elements
    self.stride = stride
    self.isTransposed = isTransposed
  }

  /// The same memory with rows and columns exchanged; nothing is copied.
  public var transposed: MatrixView {
    MatrixView(rows: columns, columns: rows, elements, stride: stride, isTransposed: !isTransposed)
  }

  /// Some of the rows, in place.
  ///
  /// - Throws: `matrix.shape` for rows that are not there.
  public func rows(_ range: Range<Int>) throws(Problem) -> MatrixView {
    guard range.lowerBound >= 0, range.upperBound <= rows else {
      throw Problem(.matrixShape, "rows \(range) of a matrix that has \(rows)")
    }
    return MatrixView(
      rows: range.count, columns: columns, elements.map { $0 + range.lowerBound * (isTransposed ? 1 : stride) },
      stride: stride, isTransposed: isTransposed)
  }
}

/// A matrix written in place: the result of ``MatrixProduct``. Valid while the memory beneath it is.
public struct MutableMatrixView<Element> {
  public let rows: Int
  public let columns: Int
  package let elements: UnsafeMutablePointer<Element>?
  /// Elements from one row to the next.
  package let stride: Int

  /// Element (i, j) is `elements[i * stride + j]`; `stride` is `columns` unless given.
  ///
  /// - Throws: `matrix.shape` if the elements do not reach so far or the rows overlap.
  public init(
    _ elements: UnsafeMutableBufferPointer<Element>, rows: Int, columns: Int, stride: Int? = nil
  ) throws(Problem) {
    try checkLayout(count: elements.count, rows: rows, columns: columns, stride: stride ?? columns)
    self.rows = rows
    self.columns = columns
    self.elements = elements.baseAddress
    self.stride = stride ?? columns
  }
}

private func checkLayout(count: Int, rows: Int, columns: Int, stride: Int) throws(Problem) {
  guard rows >= 0, columns >= 0, stride >= columns else {
    throw Problem(.matrixShape, "a matrix of \(rows) x \(columns) with \(stride) elements from row to row")
  }
  guard rows > 0, columns > 0 else { return }
  let (offset, overflow) = (rows - 1).multipliedReportingOverflow(by: stride)
  guard !overflow, offset <= count, columns <= count - offset else {
    throw Problem(
      .matrixShape,
      "\(count) elements do not hold a matrix of \(rows) x \(columns) with \(stride) elements from row to row")
  }
}
