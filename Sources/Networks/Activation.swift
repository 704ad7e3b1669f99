internal import EspalierBasics
internal import EspalierNumerics

/// Which rows of an activation belong to which sequence, and where in it they stand.
///
/// Batches are ragged: the rows of all sequences lie one after the other, and padding is no row.
public final class Segments: Sendable {
  /// First row of each sequence, and at the end the number of all rows.
  public let starts: [Int]
  /// The position of each row in its sequence, ascending; rows that were masked out leave gaps.
  public let positions: [Int32]
  /// Height and width of pictures whose pixels the rows are, row by row; nil for text.
  public let grid: (height: Int, width: Int)?
  /// Whether the one row of each sequence stands for all of it, as after pooling.
  public let isPooled: Bool

  public init(
    starts: [Int], positions: [Int32], grid: (height: Int, width: Int)? = nil, isPooled: Bool = false
  ) {
    self.starts = starts
    self.positions = positions
    self.grid = grid
    self.isPooled = isPooled
  }

  /// One row a sequence, which stands for all of it.
  public static func pooled(_ count: Int, grid: (height: Int, width: Int)? = nil) -> Segments {
    Segments(
      starts: Array(0...count), positions: Array(repeating: 0, count: count), grid: grid, isPooled: true)
  }

  /// Sequences of so many rows each, at positions 0, 1, 2 ...
  public convenience init(lengths: [Int], grid: (height: Int, width: Int)? = nil) {
    var starts = [0]
    var positions: [Int32] = []
    for length in lengths {
      starts.append(starts[starts.count - 1] + length)
      positions += (0..<Int32(length))
    }
    self.init(starts: starts, positions: positions, grid: grid)
  }

  public var count: Int { starts.count - 1 }
  public var rows: Int { starts[starts.count - 1] }
  public func rows(of sequence: Int) -> Range<Int> { starts[sequence]..<starts[sequence + 1] }
}

/// What flows between operations: rows of floats. Opaque outside the operations.
struct Activation: Sendable {
  let buffer: AlignedBuffer
  let width: Int
  let segments: Segments

  var rows: Int { segments.rows }
  var count: Int { rows * width }

  /// The floats, row by row.
  var floats: UnsafeMutablePointer<Float> { buffer.floats.baseAddress! }
  var view: UnsafeBufferPointer<Float> { UnsafeBufferPointer(start: floats, count: count) }
  var mutableView: UnsafeMutableBufferPointer<Float> { UnsafeMutableBufferPointer(start: floats, count: count) }

  func sharesMemory(with other: Activation) -> Bool { buffer === other.buffer }
}

/// Whole numbers, one a row: tokens, their types and positions. A batch gives them; no operation writes any.
struct IndexRows: Sendable {
  let values: [Int32]
  let segments: Segments
}

/// What a slot holds.
enum SlotValue: Sendable {
  case floats(Activation)
  case indices(IndexRows)

  var floats: Activation? { if case .floats(let value) = self { value } else { nil } }

  var segments: Segments {
    switch self {
    case .floats(let value): value.segments
    case .indices(let value): value.segments
    }
  }
}
