internal import CKernels
public import EspalierBasics
public import EspalierNumerics

/// Which positions of a sparse matrix may be stored.
public enum SparsePattern: Sendable, Hashable, Codable {
  /// Any.
  case unstructured
  /// Exactly `keep` of every `of` consecutive columns of a row: 2:4, 4:8. `of` is a power of two up to 64, so that no
  /// group lies in two words. A bit for each position takes as much as indices for 2:4 (2 x 2 bits for 4 positions), and
  /// less for 4:8 (4 x 3 bits for 8).
  case groups(keep: Int, of: Int)
}

/// Where the parts of a sparse matrix lie in memory: bitmap, row offsets, values, each at a multiple of 64 bytes.
///
/// The bitmap has a bit for every column, column p of a row being bit p % 64 of its little-endian word p / 64, rows being
/// whole words. Row offsets are 64-bit integers, one for each row and the end. A few bytes after the last value belong to
/// the matrix too, whatever they hold.
public struct SparseLayout: Sendable, Hashable {
  public let rows: Int
  public let columns: Int
  /// What the values are stored as: float32, float16 or bfloat16.
  public let elementType: ElementType
  public let pattern: SparsePattern
  /// Numbers that are stored.
  public let valueCount: Int

  /// - Parameter valueCount: not needed with a pattern, which fixes it.
  /// - Throws: `matrix.format` for other element types; `matrix.shape` for sizes below 0 or beyond any memory, a pattern
  ///   that is none or does not divide the columns, and more values than positions.
  public init(
    rows: Int, columns: Int, elementType: ElementType, pattern: SparsePattern = .unstructured, valueCount: Int? = nil
  ) throws(Problem) {
    guard [.f32, .f16, .bf16].contains(elementType) else {
      throw Problem(
        .matrixFormat, "a sparse matrix is not stored in \(elementType.safetensorsName)",
        remedy: "Store it in F32, F16 or BF16.")
    }
    let (count, overflow) = rows.multipliedReportingOverflow(by: columns)
    guard rows >= 0, columns >= 0, rows <= Self.mostNumbers, columns <= Self.mostNumbers, !overflow,
      count <= Self.mostNumbers
    else { throw Problem(.matrixShape, "a sparse matrix of \(rows) x \(columns)") }
    var expected = valueCount
    if case .groups(let keep, let of) = pattern {
      guard (1...64).contains(of), of & (of - 1) == 0, (0...of).contains(keep) else {
        throw Problem(
          .matrixShape, "the pattern \(keep):\(of) is not n of m with n up to m and m a power of two up to 64")
      }
      guard columns % of == 0 else {
        throw Problem(.matrixShape, "\(columns) columns are not whole groups of the pattern \(keep):\(of)")
      }
      expected = count / of * keep
    }
    guard let stored = expected, (0...count).contains(stored), valueCount ?? stored == stored else {
      throw Problem(.matrixShape, "\(valueCount ?? -1) values of a sparse matrix of \(rows) x \(columns)")
    }
    self.rows = rows
    self.columns = columns
    self.elementType = elementType
    self.pattern = pattern
    self.valueCount = stored
  }

  /// So that no count of bytes overflows.
  private static let mostNumbers = 1 << 48

  /// 64-bit words in a row of the bitmap.
  public var words: Int { (columns + 63) / 64 }
  public var bitmapBytes: Int { rows * words * 8 }
  public var offsetBytes: Int { (rows + 1) * 8 }
  public var valueBytes: Int { valueCount * elementType.byteWidth }

  public var bitmapStart: Int { 0 }
  public var offsetsStart: Int { (bitmapBytes + 63) / 64 * 64 }
  public var valuesStart: Int { offsetsStart + (offsetBytes + 63) / 64 * 64 }
  /// Bytes from the beginning of the bitmap to the end of what belongs to the matrix.
  public var byteCount: Int { valuesStart + (valueBytes + 63) / 64 * 64 + Int(ES_SPARSE_PADDING) }

  var nativeType: es_linear_float {
    switch elementType {
    case .f16: .f16
    case .bf16: .bf16
    default: .f32
    }
  }
}
