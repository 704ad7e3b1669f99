public import EspalierBasics
internal import EspalierCoding
internal import EspalierNumerics
internal import Synchronization

/// A packed file, read as the file that it was made of. What is read is checked against the digests in it.
///
/// A chunk is decoded when a byte of it is wanted; of those that were wanted in part, a few are kept.
public final class ArchivedFile: ByteSource {
  /// Of the packed file.
  public let path: String
  public let header: ArchiveHeader
  /// Bytes of the packed file.
  public let storedBytes: Int

  private let file: any ByteSource
  private let places: [Range<Int>?]
  /// Where each part begins in the file it was made of, and the end.
  private let starts: [Int]
  private let base: Mutex<[Int: any ByteSource]>
  private let tables = Mutex<[Int: [Chunk]]>([:])
  private let baseFolder: String?
  /// Room for a coded chunk and one of the base.
  private let rooms: BufferPool
  private let roomBytes: Int
  private let depth: Int
  private let identifier = ArchiveMemory.identifier()
  /// The number of the first piece of each part, and how many pieces there are.
  private let firstPieces: [Int]

  private struct Chunk {
    var offset: Int
    var record: ArchiveChunk
  }

  /// How long a chain of bases may be; a circle has no end.
  static let mostBases = 8

  /// - Parameters:
  ///   - path: of the packed file.
  ///   - baseFolder: where the files of the base lie by their last names, if not where the header says.
  /// - Throws: `archive.format`, `archive.damaged` for what is no packed file; reads the header alone.
  public convenience init(at path: String, baseFolder: String? = nil) throws(Problem) {
    try self.init(at: path, baseFolder: baseFolder, depth: 0)
  }

  /// - Parameter depth: how many files were packed against one another before this one.
  convenience init(at path: String, baseFolder: String?, depth: Int) throws(Problem) {
    try self.init(of: try File.reading(path), baseFolder: baseFolder, depth: depth)
  }

  /// - Parameter file: the packed file's bytes, which may come out of another one.
  init(of file: any ByteSource, baseFolder: String? = nil, depth: Int = 0) throws(Problem) {
    let path = file.path
    guard depth <= Self.mostBases else {
      throw Problem(.archiveBase, "more than \(Self.mostBases) files are packed each against the next", file: path)
    }
    (header, places) = try ArchiveHeader.read(file)
    storedBytes = try file.size()
    (self.path, self.file, self.baseFolder, self.depth) = (path, file, baseFolder, depth)
    roomBytes = ChunkCoding.mostBytes(for: header.chunkBytes) + header.chunkBytes
    rooms = ArchiveMemory.rooms(of: roomBytes)
    starts = header.starts + [header.byteCount]
    var pieces = [0]
    for part in header.parts { pieces.append(pieces[pieces.count - 1] + part.chunkCount(of: header.chunkBytes)) }
    firstPieces = pieces
    base = Mutex([:])
  }

  deinit {
    ArchiveMemory.forget(archive: identifier)
    ArchiveMemory.giveBackRooms(of: roomBytes)
  }

  public func size() throws(Problem) -> Int { header.byteCount }

  /// Bytes of the packed file for each part: 0 for one that repeats another.
  public var partBytes: [Int] { places.map { $0?.count ?? 0 } }

  /// How many pieces the file has that are decoded by themselves.
  public var pieceCount: Int { firstPieces.last ?? 0 }

  /// Where a piece lies in the file.
  public func piece(_ index: Int) -> Range<Int> {
    let part = firstPieces.partitioningIndex { $0 > index } - 1
    let range = chunkRange(part, index - firstPieces[part])
    return starts[part] + range.lowerBound..<starts[part] + range.upperBound
  }

  public func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Problem) {
    guard offset >= 0, offset <= header.byteCount, buffer.count <= header.byteCount - offset else {
      throw Problem(
        .fileTruncated, "\(buffer.count) bytes are wanted from byte \(offset); the packed file has \(header.byteCount)",
        file: path)
    }
    var done = 0
    var part = starts.partitioningIndex { $0 > offset } - 1
    while done < buffer.count {
      let within = offset + done - starts[part]
      let index = within / header.chunkBytes
      let range = chunkRange(part, index)
      let count = min(range.upperBound - within, buffer.count - done)
      let target = UnsafeMutableRawBufferPointer(rebasing: buffer[done..<done + count])
      if count == range.count {
        try decode(part, index, into: target)
      } else {
        try copy(part, index, from: within - range.lowerBound, into: target)
      }
      done += count
      if range.upperBound == header.parts[part].byteCount, within + count == range.upperBound { part += 1 }
    }
  }

  /// Bytes of a part that a chunk holds.
  private func chunkRange(_ part: Int, _ index: Int) -> Range<Int> {
    let first = index * header.chunkBytes
    return first..<min(first + header.chunkBytes, header.parts[part].byteCount)
  }

  private func copy(
    _ part: Int, _ index: Int, from offset: Int, into target: UnsafeMutableRawBufferPointer
  ) throws(Problem) {
    func take(_ bytes: [UInt8]) {
      bytes.withUnsafeBytes {
        target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[offset..<offset + target.count]))
      }
    }
    var part = part
    if case .same(let other) = header.parts[part].content { part = other }
    let key = ArchiveMemory.Key(archive: identifier, part: part, chunk: index)
    if let found = ArchiveMemory.chunk(key) { return take(found) }
    var bytes = [UInt8](repeating: 0, count: chunkRange(part, index).count)
    let result: Result<Void, Problem> = bytes.withUnsafeMutableBytes { buffer in
      Result { () throws(Problem) in try decode(part, index, into: buffer) }
    }
    try result.get()
    take(bytes)
    ArchiveMemory.keep(bytes, as: key)
  }

  /// Memory that packed files take beside what they are read into: the chunks that all of them keep, and what each thread
  /// decodes a chunk with.
  ///
  /// - Parameter levels: how many files that were packed against one another are read for a chunk, one for a file without
  ///   base.
  public static func readingBytes(chunkBytes: Int, levels: Int, threads: Int) -> Int {
    ArchiveMemory.mostKeptBytes + threads * levels * (ChunkCoding.mostBytes(for: chunkBytes) + chunkBytes)
  }

  // MARK: - Chunks

  private func decode(_ part: Int, _ index: Int, into target: UnsafeMutableRawBufferPointer) throws(Problem) {
    if case .same(let other) = header.parts[part].content { return try decode(other, index, into: target) }
    let chunk = try chunk(part, index)
    let range = chunkRange(part, index)
    do throws(Problem) {
      try rooms.with { (room) throws(Problem) in
        let coded = UnsafeMutableRawBufferPointer(rebasing: room[..<chunk.record.codedBytes])
        try file.read(into: coded, at: chunk.offset)
        let bytes = UnsafeRawBufferPointer(coded)
        guard Digest(of: bytes) == chunk.record.codedDigest else {
          throw Problem(
            .archiveDamaged, "bytes of the packed file are not what was written",
            remedy: "Restore the file from a copy.", byteOffset: chunk.offset)
        }
        let place = ChunkCoding.needsBase(bytes) ? header.parts[part].base : nil
        let behind = ChunkCoding.mostBytes(for: header.chunkBytes)
        let against = UnsafeMutableRawBufferPointer(rebasing: room[behind..<behind + range.count])
        if let place { try baseFile(place.file).read(into: against, at: place.offset + range.lowerBound) }
        let wrongBase = Problem(
          .archiveBase, "the base is not the one that the file was packed against, or was changed since",
          remedy: "Restore it, or name the folder of the right one with --base of unpack or verify.")
        do throws(Problem) {
          try ChunkCoding.decode(bytes, against: place == nil ? nil : UnsafeRawBufferPointer(against), into: target)
        } catch { throw place == nil ? error : wrongBase }
        guard Digest(of: UnsafeRawBufferPointer(target)) == chunk.record.digest else {
          throw place == nil
            ? Problem(
              .archiveDamaged, "what the packed file holds is not what was packed",
              remedy: "Restore the file from a copy.", byteOffset: chunk.offset) : wrongBase
        }
      }
    } catch { throw error.at(file: path, tensor: header.parts[part].name) }
  }

  private func chunk(_ part: Int, _ index: Int) throws(Problem) -> Chunk {
    if let table = tables.withLock({ $0[part] }) { return table[index] }
    let table = try table(part)
    tables.withLock { $0[part] = table }
    return table[index]
  }

  private func table(_ part: Int) throws(Problem) -> [Chunk] {
    guard let place = places[part] else {
      throw Problem(.archiveDamaged, "a part is not stored", file: path, tensor: header.parts[part].name)
    }
    let count = header.parts[part].chunkCount(of: header.chunkBytes)
    let bytes = try file.read(count * ArchiveChunk.recordBytes, at: place.lowerBound)
    var next = place.lowerBound + bytes.count
    var table: [Chunk] = []
    for index in 0..<count {
      let record = ArchiveChunk(bytes[index * ArchiveChunk.recordBytes..<(index + 1) * ArchiveChunk.recordBytes])
      guard let record, record.codedBytes <= ChunkCoding.mostBytes(for: chunkRange(part, index).count),
        record.codedBytes <= place.upperBound - next
      else {
        throw Problem(
          .archiveDamaged, "the table of a part is not what was written", remedy: "Restore the file from a copy.",
          file: path, tensor: header.parts[part].name, byteOffset: place.lowerBound)
      }
      table.append(Chunk(offset: next, record: record))
      next += record.codedBytes
    }
    guard next == place.upperBound else {
      throw Problem(
        .archiveDamaged, "a part does not end with its last chunk", remedy: "Restore the file from a copy.",
        file: path, tensor: header.parts[part].name, byteOffset: next)
    }
    return table
  }

  // MARK: - The base

  /// Where the files of the base are looked for.
  public var basePaths: [String] { header.base.map { path(of: $0) } }

  /// Of a folder that the base was moved to, the file with the longest end of the path that it had.
  private func path(of file: ArchiveHeader.BaseFile) -> String {
    guard let baseFolder else {
      // A link to a packed file is no place to look from.
      let place = FileSystem.linkTarget(path) == nil ? path : FileSystem.resolved(path) ?? path
      return FileSystem.join(FileSystem.parent(of: place), file.path)
    }
    if header.base.count == 1, WeightFile.isThere(baseFolder) { return baseFolder }
    let names = file.path.split(separator: "/").filter { $0 != ".." }.suffix(8)
    let ends = names.indices.map { FileSystem.join(baseFolder, names[$0...].joined(separator: "/")) }
    return ends.first { WeightFile.isThere($0) } ?? FileSystem.join(baseFolder, FileSystem.lastComponent(of: file.path))
  }

  private func baseFile(_ index: Int) throws(Problem) -> any ByteSource {
    if let file = base.withLock({ $0[index] }) { return file }
    let named = header.base[index]
    let path = path(of: named)
    guard WeightFile.isThere(path) else {
      throw Problem(
        .archiveBase, "the file was packed against \(path), which is not there",
        remedy: "Restore it, or name the base's folder with --base of unpack or verify.")
    }
    let file = try WeightFile.bytes(of: path, depth: depth + 1)
    guard try file.size() == named.byteCount else {
      throw Problem(
        .archiveBase, "\(path) has another length than when the file was packed against it",
        remedy: "Restore it, or name the base's folder with --base of unpack or verify.")
    }
    base.withLock { $0[index] = file }
    return file
  }
}

extension [Int] {
  /// The first index whose element fulfils a condition that holds from there on.
  fileprivate func partitioningIndex(where holds: (Int) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if holds(self[middle]) { high = middle } else { low = middle + 1 }
    }
    return low
  }
}
