public import EspalierBasics
public import EspalierLinearMaps
public import EspalierNumerics

extension PackedStorage {
  /// How the matrix lies in memory as it is; nil if no ``PackedMatrix`` is like that: 8-bit floats with zero points.
  public var layout: PackedMatrix.Layout? {
    if coding == .elements, let zeros, codes.elementType != .i8 || zeros.elementType != .i8 { return nil }
    let isFloat = coding == .elements && codes.elementType != .i8
    return try? PackedMatrix.Layout(
      rows: rows, columns: columns, grid: isFloat ? .float(codes.elementType) : .integer(bits: bits),
      tileRows: blockRows, groupSize: groupSize, groupCount: groupCount, hasZeros: zeros != nil,
      ordersColumns: groupIndices != nil)
  }

  /// Reads the matrix as it is coded, its rows one after the other.
  ///
  /// - Parameters:
  ///   - layout: ``layout``.
  ///   - offset: a multiple of 64, from which on the buffer has the layout's bytes.
  /// - Throws: what reading throws; `checkpoint.packed` for columns in groups that do not exist.
  public func load(
    _ layout: PackedMatrix.Layout, into buffer: AlignedBuffer, offset: Int = 0, files: FilePool
  ) throws(Problem) -> PackedMatrix {
    do throws(Problem) {
      let start = buffer.address + offset
      try readCodes(into: start + layout.codesStart, files: files)
      if coding == .elements, codes.elementType == .i8 {
        // Signed numbers become codes from 0 on.
        let bytes = (start + layout.codesStart).assumingMemoryBound(to: UInt8.self)
        for index in 0..<rows * columns { bytes[index] ^= 0x80 }
        for row in (0..<rows).reversed() where layout.rowBytes > columns {
          (bytes + row * layout.rowBytes).update(from: bytes + row * columns, count: columns)
        }
      }
      try PackedTables(self, files: files).copy(into: start, layout)
      return try PackedMatrix(buffer, offset: offset, layout: layout)
    } catch { throw error.at(file: codes.file, tensor: name) }
  }
}
