internal import EspalierBasics
public import EspalierNumerics

/// A tensor as it lies in a file: row-major elements of one type in consecutive little-endian bytes.
public struct StoredTensor: Sendable, Hashable, Codable {
  public var name: String
  public var elementType: ElementType
  /// Sizes of the dimensions, slowest first; empty for a scalar.
  public var shape: [Int]
  /// Path of the file that holds it.
  public var file: String
  /// Offset of its first byte in that file.
  public var offset: Int
  public var byteCount: Int

  public init(name: String, elementType: ElementType, shape: [Int], file: String, offset: Int, byteCount: Int) {
    self.name = name
    self.elementType = elementType
    self.shape = shape
    self.file = file
    self.offset = offset
    self.byteCount = byteCount
  }

  public var elementCount: Int { byteCount / elementType.byteWidth }
}

extension Array where Element == Int {
  /// The product of sizes of a shape, or nil if one is negative or the product overflows. A zero does not excuse the
  /// others: their product must fit too, so that parts of the shape can be multiplied without a check.
  public var checkedProduct: Int? {
    var product = 1
    for size in self where size != 0 {
      let (value, overflow) = product.multipliedReportingOverflow(by: size)
      if overflow || size < 0 { return nil }
      product = value
    }
    return contains(0) ? 0 : product
  }
}
