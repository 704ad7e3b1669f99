public import EspalierNumerics

/// How the numbers of a weight are coded: one by one, or in blocks that share scales.
public enum WeightFormat: Sendable, Hashable, Codable {
  case elements(ElementType)
  case blocks(BlockType)

  /// Bytes of a row of `count` numbers; for blocks a multiple of their length.
  public func byteCount(of count: Int) -> Int {
    switch self {
    case .elements(let type): count * type.byteWidth
    case .blocks(let type): type.byteCount(of: count)
    }
  }

  /// Numbers in a row of `bytes` bytes; for blocks whole ones.
  public func elementCount(in bytes: Int) -> Int {
    switch self {
    case .elements(let type): bytes / type.byteWidth
    case .blocks(let type): bytes / type.blockBytes * type.blockLength
    }
  }

  /// What the formats call it: `BF16`, `Q4_K`.
  public var name: String {
    switch self {
    case .elements(let type): type.safetensorsName
    case .blocks(let type): type.rawValue.uppercased()
    }
  }
}

extension WeightFormat {
  /// Numbers that are coded together: 1, or a block's length.
  public var blockLength: Int {
    switch self {
    case .elements: 1
    case .blocks(let type): type.blockLength
    }
  }
}
