internal import EspalierBasics
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

  /// The matrix with zeros where the mask says so. Shapes must agree.
  public func applied(to weight: Matrix<Float>) -> Matrix<Float> {
    var result = weight
    // A choice, not a branch: half of them would be guessed wrong.
    result.elements.withUnsafeMutableBufferPointer { weights in
      elements.withUnsafeBufferPointer { marks in
        for index in 0..<min(marks.count, weights.count) { weights[index] = marks[index] == 0 ? weights[index] : 0 }
      }
    }
    return result
  }
}
