internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// Reads a matrix out of its codes. Scales and zero points are in memory; so are codes that are stored across the
/// matrix's rows, packed as they are, while others are read from the file as they are asked for.
final class PackedReader: ParameterReader {
  private let storage: PackedStorage
  private let file: any ByteSource
  private let tables: PackedTables
  /// Rows of codes, packed; nil where the file has them so.
  private let kept: AlignedBuffer?

  /// - Throws: what reading throws; `checkpoint.packed` for columns in groups that do not exist.
  init(_ storage: PackedStorage, files: FilePool) throws(Problem) {
    self.storage = storage
    do throws(Problem) {
      file = try files.file(storage.codes.file)
      tables = try PackedTables(storage, files: files)
      kept = storage.coding.isTransposed ? try Self.rows(of: storage, files: files) : nil
    } catch { throw error.at(file: storage.codes.file, tensor: storage.name) }
  }

  var elementCount: Int { storage.rows * storage.columns }
  var residentBytes: Int { storage.residentBytes }
  func scratchBytes(for count: Int) -> Int { storage.scratchBytes(for: count) }

  /// The codes of a matrix stored across its rows, row by row.
  private static func rows(of storage: PackedStorage, files: FilePool) throws(Problem) -> AlignedBuffer {
    // Decoding reads past the last code.
    let rows = try AlignedBuffer(byteCount: storage.rows * storage.rowWords * 4 + 8)
    try storage.readCodes(into: rows.address, files: files)
    return rows
  }

  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    guard !range.isEmpty else { return }
    let (columns, rowBytes) = (storage.columns, storage.rowWords * 4)
    switch storage.coding {
    case .elements:
      try readStored(range.lowerBound, count: range.count, into: scratch)
      storage.codes.elementType.decode(scratch, into: destination, count: range.count)
      forRows(of: range) { row, column, count, offset in
        tables.scale(destination + offset, count: count, row: row, column: column)
      }
    case .words(let bits):
      // From the run of 32 codes that the first one is in, which begins with a word.
      let (row, column) = (range.lowerBound / columns, range.lowerBound % columns)
      let (lastRow, lastColumn) = ((range.upperBound - 1) / columns, (range.upperBound - 1) % columns)
      let start = row * rowBytes + column / 32 * bits * 4
      let end = lastRow * rowBytes + ((lastColumn + 1) * bits + 7) / 8
      try readStored(start, count: end - start, into: scratch)
      forRows(of: range) { at, from, count, offset in
        let stream = at == row ? scratch : scratch + (at * rowBytes - start)
        let first = at == row ? from % 32 : from
        es_packed_decode(stream, Int32(bits), Int64(first), destination + offset, Int64(count))
        tables.scale(destination + offset, count: count, row: at, column: from)
      }
    case .gptq, .awq:
      guard let kept else { return }
      forRows(of: range) { row, column, count, offset in
        es_packed_decode(
          kept.address + row * rowBytes, Int32(storage.bits), Int64(column), destination + offset, Int64(count))
        tables.scale(destination + offset, count: count, row: row, column: column)
      }
    }
  }

  private func readStored(_ offset: Int, count: Int, into scratch: UnsafeMutableRawPointer) throws(Problem) {
    let bytes = UnsafeMutableRawBufferPointer(start: scratch, count: count)
    do throws(Problem) { try file.read(into: bytes, at: storage.codes.offset + offset) } catch {
      throw error.at(tensor: storage.codes.name)
    }
  }

  /// The rows that a range touches: each with its first column, the number of columns, and where in the range it lies.
  private func forRows(of range: Range<Int>, _ body: (_ row: Int, _ column: Int, _ count: Int, _ offset: Int) -> Void) {
    var element = range.lowerBound
    while element < range.upperBound {
      let (row, column) = element.quotientAndRemainder(dividingBy: storage.columns)
      let count = min(storage.columns - column, range.upperBound - element)
      body(row, column, count, element - range.lowerBound)
      element += count
    }
  }
}

extension PackedStorage {
  /// Reads all codes, row by row, packed as they are: rows of ``rowWords`` words, or of bytes.
  func readCodes(into target: UnsafeMutableRawPointer, files: FilePool) throws(Problem) {
    let file = try files.file(codes.file)
    guard coding.isTransposed else {
      let bytes = UnsafeMutableRawBufferPointer(start: target, count: codes.byteCount)
      do throws(Problem) { return try file.read(into: bytes, at: codes.offset) } catch {
        throw error.at(tensor: codes.name)
      }
    }
    let isAWQ = coding == .awq
    let (width, rowWords) = (codes.shape[1], rowWords)
    let rows = target.assumingMemoryBound(to: UInt32.self)
    try codes.readBands(file, bytes: bandBytes, multiple: isAWQ ? 8 : 1) { first, count, bytes in
      let words = bytes.assumingMemoryBound(to: UInt32.self)
      if isAWQ {
        es_packed_order_nibbles(words, Int64(count * width))
        es_packed_transpose_nibbles(words, Int64(count), Int64(width), rows + first / 8, Int64(rowWords))
      } else {
        es_packed_transpose(words, Int64(count), Int64(width), rows + first, Int64(rowWords))
      }
    }
  }
}

extension StoredTensor {
  /// Reads the rows of a matrix in bands of about so many bytes.
  ///
  /// - Parameters:
  ///   - multiple: rows of every band but the last are a multiple of it.
  ///   - body: gets the first row, how many there are, and their bytes, which it may change.
  func readBands(
    _ file: any ByteSource, bytes: Int, multiple: Int = 1,
    _ body: (_ first: Int, _ count: Int, _ bytes: UnsafeMutableRawPointer) -> Void
  ) throws(Problem) {
    let rows = shape.first ?? 1
    let rowBytes = byteCount / max(1, rows)
    guard rowBytes > 0 else { return }
    let height = min(rows, max(1, bytes / rowBytes / multiple) * multiple)
    let band = try AlignedBuffer(byteCount: height * rowBytes + 8)
    for first in stride(from: 0, to: rows, by: height) {
      let count = min(height, rows - first)
      let target = UnsafeMutableRawBufferPointer(start: band.address, count: count * rowBytes)
      do throws(Problem) { try file.read(into: target, at: offset + first * rowBytes) } catch {
        throw error.at(tensor: name)
      }
      body(first, count, band.address)
    }
  }
}
