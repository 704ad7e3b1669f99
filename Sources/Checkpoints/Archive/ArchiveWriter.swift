public import EspalierBasics
internal import EspalierCoding
internal import EspalierNumerics

/// Packs a file: chunks are coded by all threads and written one after another as they come.
///
/// Memory is that of the chunks in flight, whatever the file's size. What is written is noted in `PATH.journal`; a run that
/// was ended goes on behind the last chunk whose bytes are there.
public struct ArchiveWriter {
  /// What was written.
  public struct Outcome: Sendable {
    public var header: ArchiveHeader
    /// Bytes of the packed file for each part: 0 for one that repeats another.
    public var partBytes: [Int]
    public var byteCount: Int
  }

  private let source: any ByteSource
  private let base: [any ByteSource]
  private let lattices: [Int: [Float]]
  private let path: String
  private let workers: WorkerPool
  private let advanced: (Int) -> Void
  private var header: ArchiveHeader
  private var chunks: [(part: Int, index: Int)] = []
  private let reserved: Int
  /// Where parts begin in the source.
  private let starts: [Int]

  /// - Parameters:
  ///   - header: of the file, its parts in the order of their bytes and all of it.
  ///   - base: files that parts have places in.
  ///   - lattices: the steps of columns, by part, of those whose numbers are integers times them.
  ///   - path: the packed file.
  ///   - advanced: told how many bytes of the source have been coded.
  /// - Throws: what reading throws.
  public init(
    _ source: any ByteSource, _ header: ArchiveHeader, base: [any ByteSource] = [], lattices: [Int: [Float]] = [:],
    to path: String, workers: WorkerPool,
    advanced: @escaping (Int) -> Void = { _ in }
  ) throws(Problem) {
    (self.source, self.base, self.lattices, self.path) = (source, base, lattices, path)
    (self.workers, self.advanced) = (workers, advanced)
    self.header = try RepeatedParts.marked(header, in: source, workers: workers)
    var most: [Int] = []
    for (part, content) in self.header.parts.enumerated() where content.content == .stored {
      let count = content.chunkCount(of: header.chunkBytes)
      chunks += (0..<count).map { (part, $0) }
      most.append(content.byteCount + count * (ArchiveChunk.recordBytes + 1))
    }
    starts = header.starts
    reserved = self.header.bytes(lengths: most, reserved: nil).count - 8
  }

  /// Packs a file of many small tensors, neighbours of one type together.
  public init(codingAlike source: any ByteSource, to path: String, workers: WorkerPool) throws(Problem) {
    try self.init(source, try ArchiveHeader(describing: source).joiningTensors(), to: path, workers: workers)
  }

  /// Codes and writes everything.
  ///
  /// - Parameter resume: whether an earlier run is continued, if there is one of the same `fingerprint`.
  /// - Throws: what reading and writing throw; what was written stays for another run.
  public func write(resume: Bool, fingerprint: Digest) throws(Problem) -> Outcome {
    let file = try File.writing(path)
    let journal = try ArchiveJournal(beside: path, fingerprint: fingerprint, resume: resume)
    var placement = ArchivePlacement(of: header, from: 8 + reserved + ArchiveHeader.checkBytes)
    for (chunk, record) in zip(chunks, journal.records) {
      guard try isThere(record, in: file, at: placement.dataOffset(of: chunk)) else { break }
      // Of a table nothing is known but that it was written at the time.
      try file.write(record.bytes, at: placement.add(record, of: chunk).record)
      advanced(length(of: chunk))
    }
    try journal.keep(placement.chunkCount)
    try encode(to: file, journal, &placement)
    let head = header.bytes(lengths: placement.lengths, reserved: reserved)
    try file.write(head, at: 0)
    try file.write(head.withUnsafeBytes { Digest(of: $0) }.bytes, at: head.count)
    try file.resize(to: placement.end)
    try file.sync()
    try journal.remove()
    return Outcome(header: header, partBytes: placement.partBytes, byteCount: placement.end)
  }

  /// Whether the bytes of a chunk of an earlier run are still there.
  private func isThere(_ record: ArchiveChunk, in file: File, at offset: Int) throws(Problem) -> Bool {
    guard offset + record.codedBytes <= (try file.size()) else { return false }
    return try file.read(record.codedBytes, at: offset).withUnsafeBytes { Digest(of: $0) } == record.codedDigest
  }

  private func length(of chunk: (part: Int, index: Int)) -> Int {
    min(header.chunkBytes, header.parts[chunk.part].byteCount - chunk.index * header.chunkBytes)
  }

  // MARK: - Memory

  /// Of all chunks in flight, whatever the file's size and the number of threads; larger if a single one takes more.
  private static let mostWorkingBytes = 192 << 20
  /// What a chunk in flight takes, in chunks: itself, one of the base, two coded ones, and its planes while it is coded.
  private static let chunkShare = 8

  /// How many chunks are coded at once, and wait to be written.
  public static func chunksInFlight(of chunkBytes: Int, threads: Int) -> Int {
    max(1, min(8 * threads, mostWorkingBytes / (chunkShare * max(1, chunkBytes))))
  }

  /// What packing a file takes, and reading it back: chunks in flight, those that readers keep, and tables.
  public static func workingBytes(chunkBytes: Int, threads: Int) -> Int {
    24 << 20 + chunksInFlight(of: chunkBytes, threads: threads) * chunkShare * chunkBytes
  }

  /// How many bytes the packed file would have; it is not written.
  public func measure() throws(Problem) -> Int {
    guard base.isEmpty else { throw Problem(.archiveBase, "what is coded against a base is measured by writing it") }
    let chunkRooms = BufferPool(byteCount: header.chunkBytes)
    let codedRooms = BufferPool(byteCount: ChunkCoding.mostBytes(for: header.chunkBytes))
    let sizes = try workers.map(chunks.count) { (index) throws(Problem) -> Int in
      try chunkRooms.with { (chunk) throws(Problem) -> Int in
        try codedRooms.with { (coded) throws(Problem) -> Int in
          let bytes = UnsafeMutableRawBufferPointer(rebasing: chunk[..<length(of: chunks[index])])
          let within = chunks[index].index * header.chunkBytes
          try source.read(into: bytes, at: starts[chunks[index].part] + within)
          return code(bytes, of: chunks[index], against: nil, into: coded)
        }
      }
    }
    return 8 + reserved + ArchiveHeader.checkBytes + chunks.count * ArchiveChunk.recordBytes + sizes.reduce(0, +)
  }

  // MARK: - Coding

  private func code(
    _ bytes: UnsafeMutableRawBufferPointer, of chunk: (part: Int, index: Int), against base: UnsafeRawBufferPointer?,
    into room: UnsafeMutableRawBufferPointer
  ) -> Int {
    let type = header.parts[chunk.part].type
    let lattice = lattices[chunk.part].map { steps in
      ChunkLattice(
        steps: steps, firstColumn: chunk.index * header.chunkBytes / type.byteWidth % max(1, steps.count))
    }
    return ChunkCoding.encode(UnsafeRawBufferPointer(bytes), of: type, against: base, on: lattice, into: room)
  }

  private func encode(to file: File, _ journal: ArchiveJournal, _ placement: inout ArchivePlacement) throws(Problem) {
    let most = ChunkCoding.mostBytes(for: header.chunkBytes)
    let count = Self.chunksInFlight(of: header.chunkBytes, threads: workers.threadCount)
    let sources = try AlignedBuffer(byteCount: count * header.chunkBytes)
    let bases = try AlignedBuffer(byteCount: base.isEmpty ? 0 : count * header.chunkBytes)
    // One set of coded bytes is filled while the other is written.
    var rooms = (
      coding: try AlignedBuffer(byteCount: count * most), writing: try AlignedBuffer(byteCount: count * most)
    )
    func slot(_ index: Int, _ room: AlignedBuffer) -> UnsafeMutableRawBufferPointer {
      UnsafeMutableRawBufferPointer(rebasing: room.bytes[index * most..<(index + 1) * most])
    }
    var (finished, next) = ([ArchiveChunk](), placement.chunkCount)
    while next < chunks.count || !finished.isEmpty {
      let writes = zip(finished, chunks[(next - finished.count)..<next]).map { placement.add($0, of: $1) }
      let batch = next..<min(next + count, chunks.count)
      let (coding, writing) = rooms
      finished = try workers.map(batch.count + 1) { (index) throws(Problem) -> ArchiveChunk? in
        guard index == 0 else {
          return try encode(
            chunks[batch.lowerBound + index - 1], slot: index - 1, sources, bases, into: slot(index - 1, coding))
        }
        for (place, (write, record)) in zip(writes, finished).enumerated() {
          try file.write(record.bytes, at: write.record)
          try file.write(UnsafeRawBufferPointer(rebasing: slot(place, writing)[..<record.codedBytes]), at: write.data)
        }
        try journal.append(finished)
        return nil
      }.compactMap { $0 }
      next = batch.upperBound
      rooms = (coding: writing, writing: coding)
    }
  }

  private func encode(
    _ chunk: (part: Int, index: Int), slot: Int, _ sources: AlignedBuffer, _ bases: AlignedBuffer,
    into room: UnsafeMutableRawBufferPointer
  ) throws(Problem) -> ArchiveChunk {
    let (part, count) = (header.parts[chunk.part], length(of: chunk))
    let within = chunk.index * header.chunkBytes
    func piece(_ buffer: AlignedBuffer) -> UnsafeMutableRawBufferPointer {
      UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[slot * header.chunkBytes..<slot * header.chunkBytes + count])
    }
    let bytes = piece(sources)
    try source.read(into: bytes, at: starts[chunk.part] + within)
    var against: UnsafeRawBufferPointer?
    if let place = part.base {
      let buffer = piece(bases)
      try base[place.file].read(into: buffer, at: place.offset + within)
      against = UnsafeRawBufferPointer(buffer)
    }
    let coded = code(bytes, of: chunk, against: against, into: room)
    advanced(count)
    return ArchiveChunk(
      codedBytes: coded, codedDigest: Digest(of: UnsafeRawBufferPointer(rebasing: room[..<coded])),
      digest: Digest(of: UnsafeRawBufferPointer(bytes)))
  }
}
