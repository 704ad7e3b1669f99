internal import EspalierNumerics

/// Which part of the second moment of a site is kept.
public struct MomentShape: Sendable, Hashable {
  /// Columns of each square along the diagonal; one range is all of it, none is nothing.
  public let blocks: [Range<Int>]

  /// A limit beyond all widths.
  public static let noLimit = 1 << 20

  /// All of it up to `limit` columns; beyond, as few squares of at most `limit` columns along the diagonal as cover it,
  /// as equal as can be. A limit of 0 keeps nothing.
  public init(width: Int, limit: Int) {
    self.init(width: width, blocks: limit > 0 ? (width + limit - 1) / limit : 0)
  }

  /// So many squares along the diagonal, as equal as can be.
  init(width: Int, blocks count: Int) {
    blocks = (0..<count).map { $0 * width / count..<($0 + 1) * width / count }
  }

  /// That of statistics there are; nil for a sketch.
  public init?(of moment: SecondMoment?) {
    var sizes: [Int] = []
    switch moment {
    case nil: break
    case .full(let matrix): sizes = [matrix.rows]
    case .blocks(let matrices): sizes = matrices.map(\.rows)
    case .sketch: return nil
    }
    var blocks: [Range<Int>] = []
    for size in sizes { blocks.append((blocks.last?.upperBound ?? 0)..<(blocks.last?.upperBound ?? 0) + size) }
    self.blocks = blocks
  }

  public var elementCount: Int { blocks.reduce(0) { $0 + $1.count * $1.count } }
}
