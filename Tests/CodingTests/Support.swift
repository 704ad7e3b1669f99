import EspalierBasics
import EspalierNumerics
import TestSupport

@testable import EspalierCoding

/// Coded bytes of elements.
func encoded(_ chunk: [UInt8], of type: ElementType, against base: [UInt8]? = nil) -> [UInt8] {
  chunk.withUnsafeBytes { chunk in
    guard let base else { return ChunkCoding.encode(chunk, of: type) }
    return base.withUnsafeBytes { ChunkCoding.encode(chunk, of: type, against: $0) }
  }
}

/// Elements of coded bytes.
func decoded(_ coded: [UInt8], count: Int, against base: [UInt8]? = nil) throws -> [UInt8] {
  var chunk = [UInt8](repeating: 0xa5, count: count)
  try chunk.withUnsafeMutableBytes { chunk in
    try coded.withUnsafeBytes { coded in
      guard let base else { return try ChunkCoding.decode(coded, into: chunk) }
      try base.withUnsafeBytes { try ChunkCoding.decode(coded, against: $0, into: chunk) }
    }
  }
  return chunk
}

/// The bytes of values.
func bytes<T: BitwiseCopyable>(_ values: [T]) -> [UInt8] { values.withUnsafeBytes { Array($0) } }

extension SeededGenerator {
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next() >> 56) } }

  /// Near a normal distribution: the sum of twelve uniform numbers, less six.
  mutating func normal() -> Double {
    (0..<12).reduce(-6) { sum, _ in sum + Double(next() >> 11) * 0x1p-53 }
  }

  /// Weights of a float type, as a trained matrix has them.
  mutating func weights(_ count: Int, of type: ElementType, scale: Double = 0.02) -> [UInt8] {
    rounded((0..<count).map { _ in scale * normal() }, to: type)
  }
}

/// The bytes of numbers in a float type.
func rounded(_ values: [Double], to type: ElementType) -> [UInt8] {
  if type == .f64 { return bytes(values) }
  var coded = [UInt8](repeating: 0, count: values.count * type.byteWidth)
  let floats = values.map(Float.init)
  coded.withUnsafeMutableBytes { coded in
    floats.withUnsafeBufferPointer { floats in
      type.encode(floats.baseAddress!, into: coded.baseAddress!, count: floats.count)
    }
  }
  return coded
}

let floatTypes = ElementType.allCases.filter(\.isFloat)
