internal import EspalierBasics
public import EspalierLinearMaps
public import EspalierNumerics

/// A tensor as it lies in a file: row-major numbers of one format in consecutive little-endian bytes.
public struct StoredTensor: Sendable, Hashable, Codable {
  public var name: String
  public var format: WeightFormat
  /// Sizes of the dimensions, slowest first; empty for a scalar.
  public var shape: [Int]
  /// Path of the file that holds it.
  public var file: String
  /// Offset of its first byte in that file.
  public var offset: Int
  public var byteCount: Int

  public init(name: String, format: WeightFormat, shape: [Int], file: String, offset: Int, byteCount: Int) {
    self.name = name
    self.format = format
    self.shape = shape
    self.file = file
    self.offset = offset
    self.byteCount = byteCount
  }

  public init(name: String, elementType: ElementType, shape: [Int], file: String, offset: Int, byteCount: Int) {
    self.init(
      name: name, format: .elements(elementType), shape: shape, file: file, offset: offset, byteCount: byteCount)
  }

  /// The type of its numbers; of blocks, float32, which they decode to.
  public var elementType: ElementType { if case .elements(let type) = format { type } else { .f32 } }

  public var elementCount: Int { format.elementCount(in: byteCount) }

  /// Consecutive rows along the first dimension, as a tensor of their own: they lie side by side.
  ///
  /// - Parameters:
  ///   - rows: within the first dimension.
  ///   - shape: what to call their shape; as many elements.
  public func rows(_ rows: Range<Int>, name: String, shape: [Int]) -> StoredTensor {
    let bytes = byteCount / Swift.max(1, self.shape.first ?? 1)
    return StoredTensor(
      name: name, format: format, shape: shape, file: file, offset: offset + rows.lowerBound * bytes,
      byteCount: rows.count * bytes)
  }
}

extension Array where Element == Int {
  /// The product of sizes of a shape, or nil if one is negative or the product is beyond any tensor (2^48, which can be
  /// counted in bytes and once more by a small factor). A zero does not excuse the
  /// others: their product must fit too, so that parts of the shape can be multiplied without a check.
  public var checkedProduct: Int? {
    var product = 1
    for size in self where size != 0 {
      let (value, overflow) = product.multipliedReportingOverflow(by: size)
      if overflow || size < 0 || value > 1 << 48 { return nil }
      product = value
    }
    return contains(0) ? 0 : product
  }
}
