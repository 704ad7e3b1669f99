public import EspalierBasics
public import EspalierNumerics

extension SparseMatrix {
  /// A dense matrix in sparse form. What is stored is what is not all zero bits: a negative zero stays one.
  ///
  /// - Parameters:
  ///   - dense: rows of numbers of the element type, without gaps.
  ///   - pattern: with groups, zeros of the lowest columns fill up those that have too few other numbers.
  /// - Throws: `matrix.format`, `matrix.shape` as ``SparseLayout``; `matrix.sparse` if a group has more numbers than the
  ///   pattern keeps.
  public init(
    dense: UnsafeRawBufferPointer, elementType: ElementType, rows: Int, columns: Int,
    pattern: SparsePattern = .unstructured
  ) throws(Problem) {
    // The shape is checked before anything is counted with it.
    let whole = try SparseLayout(
      rows: rows, columns: columns, elementType: elementType, pattern: pattern,
      valueCount: pattern == .unstructured ? 0 : nil)
    guard dense.count == rows * columns * elementType.byteWidth else {
      throw Problem(
        .matrixShape,
        "\(dense.count) bytes are not a matrix of \(rows) x \(columns) in \(elementType.safetensorsName)")
    }
    if elementType == .f32 {
      try self.init(dense, of: UInt32.self, whole)
    } else {
      try self.init(dense, of: UInt16.self, whole)
    }
  }

  /// A matrix of floats, each rounded once to the element type it is stored in.
  ///
  /// - Throws: as the other initializer.
  public init(
    _ dense: Matrix<Float>, elementType: ElementType, pattern: SparsePattern = .unstructured
  ) throws(Problem) {
    let coded = try AlignedBuffer(byteCount: dense.elements.count * elementType.byteWidth)
    elementType.encode(dense.elements, into: coded.address, count: dense.elements.count)
    try self.init(
      dense: UnsafeRawBufferPointer(coded.bytes), elementType: elementType, rows: dense.rows, columns: dense.columns,
      pattern: pattern)
  }

  private init<Bits: FixedWidthInteger & BitwiseCopyable>(
    _ dense: UnsafeRawBufferPointer, of bits: Bits.Type, _ whole: SparseLayout
  ) throws(Problem) {
    let (rows, columns, words) = (whole.rows, whole.columns, whole.words)
    func number(_ row: Int, _ column: Int) -> Bits {
      dense.loadUnaligned(fromByteOffset: (row * columns + column) * MemoryLayout<Bits>.size, as: bits)
    }
    var count = 0
    for row in 0..<rows { for column in 0..<columns where number(row, column) != 0 { count += 1 } }
    let layout =
      whole.pattern == .unstructured
      ? try SparseLayout(rows: rows, columns: columns, elementType: whole.elementType, valueCount: count) : whole
    let buffer = try AlignedBuffer(byteCount: layout.byteCount)
    buffer.bytes.initializeMemory(as: UInt8.self, repeating: 0)
    let bitmap = (buffer.address + layout.bitmapStart).assumingMemoryBound(to: UInt64.self)
    let offsets = (buffer.address + layout.offsetsStart).assumingMemoryBound(to: Int64.self)
    let values = (buffer.address + layout.valuesStart).assumingMemoryBound(to: Bits.self)
    for row in 0..<rows {
      for column in 0..<columns where number(row, column) != 0 {
        bitmap[row * words + column / 64] |= 1 << UInt64(column % 64)
      }
    }
    if case .groups(let keep, let of) = layout.pattern {
      try fillGroups(bitmap, layout: layout, keep: keep, of: of)
    }
    var stored = 0
    for row in 0..<rows {
      for word in 0..<words {
        var left = bitmap[row * words + word]
        while left != 0 {
          values[stored] = number(row, word * 64 + left.trailingZeroBitCount)
          stored += 1
          left &= left - 1
        }
      }
      offsets[row + 1] = Int64(stored)
    }
    try self.init(buffer, layout: layout)
  }
}

/// Adds positions to groups that have too few.
private func fillGroups(
  _ bitmap: UnsafeMutablePointer<UInt64>, layout: SparseLayout, keep: Int, of: Int
) throws(Problem) {
  let mask = UInt64.max >> UInt64(64 - of)
  for row in 0..<layout.rows {
    for column in stride(from: 0, to: layout.columns, by: of) {
      let (place, shift) = (row * layout.words + column / 64, UInt64(column % 64))
      var group = bitmap[place] >> shift & mask
      guard group.nonzeroBitCount <= keep else {
        throw Problem(
          .matrixSparse,
          "row \(row) has \(group.nonzeroBitCount) numbers in columns \(column) to \(column + of - 1), where the pattern "
            + "has \(keep) of \(of)")
      }
      while group.nonzeroBitCount < keep { group |= group + 1 }
      bitmap[place] |= group << shift
    }
  }
}
