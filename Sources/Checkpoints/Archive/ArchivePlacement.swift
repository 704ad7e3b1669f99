/// Where chunks go in a packed file, one after another: a part's table, its chunks, the next part's table.
struct ArchivePlacement {
  private let header: ArchiveHeader
  /// Where the next chunk's bytes would begin, were it of the same part.
  private(set) var end: Int
  private(set) var chunkCount = 0
  /// Bytes for each part, with its table.
  private(set) var partBytes: [Int]
  private var table = 0

  init(of header: ArchiveHeader, from first: Int) {
    (self.header, end) = (header, first)
    partBytes = header.parts.map { _ in 0 }
  }

  /// Of parts that are stored.
  var lengths: [Int] { header.parts.indices.filter { header.parts[$0].content == .stored }.map { partBytes[$0] } }

  private func tableBytes(_ part: Int) -> Int {
    ArchiveChunk.recordBytes * header.parts[part].chunkCount(of: header.chunkBytes)
  }

  /// Where the bytes of the chunk that comes next begin.
  func dataOffset(of chunk: (part: Int, index: Int)) -> Int { end + (chunk.index == 0 ? tableBytes(chunk.part) : 0) }

  /// Places the chunk that comes next.
  ///
  /// - Returns: where its record and its bytes begin.
  mutating func add(_ record: ArchiveChunk, of chunk: (part: Int, index: Int)) -> (record: Int, data: Int) {
    let data = dataOffset(of: chunk)
    if chunk.index == 0 { table = end }
    end = data + record.codedBytes
    partBytes[chunk.part] = end - table
    chunkCount += 1
    return (table + chunk.index * ArchiveChunk.recordBytes, data)
  }
}
