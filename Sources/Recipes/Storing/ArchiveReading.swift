internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics
internal import Synchronization

/// Reading packed files whole, by all threads, a piece at a time.
enum ArchiveReading {
  /// Decodes everything, and gives each piece to a body.
  private static func forEach(
    _ archive: ArchivedFile, workers: WorkerPool,
    _ body: (_ bytes: UnsafeRawBufferPointer, _ offset: Int) throws(Problem) -> Void
  ) throws(Problem) {
    let rooms = BufferPool(byteCount: archive.header.chunkBytes)
    let next = Atomic<Int>(0)
    let lanes = lanes(chunkBytes: archive.header.chunkBytes, threads: workers.threadCount)
    try workers.forEach(min(lanes, archive.pieceCount)) { (_) throws(Problem) in
      try rooms.with { (room) throws(Problem) in
        while true {
          let index = next.add(1, ordering: .relaxed).oldValue
          guard index < archive.pieceCount else { return }
          let piece = archive.piece(index)
          let bytes = UnsafeMutableRawBufferPointer(rebasing: room[..<piece.count])
          try archive.read(into: bytes, at: piece.lowerBound)
          try body(UnsafeRawBufferPointer(bytes), piece.lowerBound)
        }
      }
    }
  }

  /// How many pieces are decoded at once: as many as chunks are coded at once, but no more than there are threads.
  private static func lanes(chunkBytes: Int, threads: Int) -> Int {
    min(threads, ArchiveWriter.chunksInFlight(of: chunkBytes, threads: threads))
  }

  /// What decoding packed files one after another takes.
  ///
  /// - Parameter levels: how many are read for a chunk, with those that a file was packed against.
  static func workingBytes(chunkBytes: Int, levels: Int, threads: Int) -> Int {
    let lanes = lanes(chunkBytes: chunkBytes, threads: threads)
    return 8 << 20 + lanes * chunkBytes
      + ArchivedFile.readingBytes(chunkBytes: chunkBytes, levels: levels, threads: lanes)
  }

  /// - Throws: `memory.ceiling` if decoding files takes more than is allowed; what reading headers throws.
  static func requireMemory(
    for archives: [String], baseFolder: String? = nil, threads: Int, allowed: Int
  ) throws(Problem) {
    let chains = try PackedChains(of: archives, baseFolder: baseFolder)
    guard chains.levels > 0, chains.chunkBytes > 0 else { return }
    let bytes = workingBytes(chunkBytes: chains.chunkBytes, levels: chains.levels, threads: threads)
    guard bytes > allowed else { return }
    throw Problem(
      .memoryCeiling, "decoding takes \(ByteCount.text(bytes)), above the ceiling of \(ByteCount.text(allowed))",
      remedy: "Raise --memory, or take fewer --threads.")
  }

  /// Checks all that is there against the digests in it.
  static func check(_ archive: ArchivedFile, workers: WorkerPool, _ advanced: (Int) -> Void) throws(Problem) {
    try forEach(archive, workers: workers) { bytes, _ in advanced(bytes.count) }
  }

  /// Writes the file that was packed.
  static func write(
    _ archive: ArchivedFile, to file: File, workers: WorkerPool, _ advanced: (Int) -> Void
  ) throws(Problem) {
    try file.resize(to: archive.header.byteCount)
    try forEach(archive, workers: workers) { (bytes, offset) throws(Problem) in
      try file.write(bytes, at: offset)
      advanced(bytes.count)
    }
    try file.sync()
  }

  /// - Throws: `archive.damaged` at the first byte that differs.
  static func compare(
    _ archive: ArchivedFile, with original: any ByteSource, workers: WorkerPool, _ advanced: (Int) -> Void
  ) throws(Problem) {
    let rooms = BufferPool(byteCount: archive.header.chunkBytes)
    try forEach(archive, workers: workers) { (bytes, offset) throws(Problem) in
      try rooms.with { (room) throws(Problem) in
        let expected = UnsafeMutableRawBufferPointer(rebasing: room[..<bytes.count])
        try original.read(into: expected, at: offset)
        guard bytes.elementsEqual(expected) else {
          let place = zip(bytes, expected).enumerated().first { $1.0 != $1.1 }?.offset ?? 0
          throw Problem(
            .archiveDamaged, "what was packed is not what comes back",
            remedy: "Nothing was replaced. Check the disk and the memory, and pack it again.", file: archive.path,
            byteOffset: offset + place)
        }
      }
      advanced(bytes.count)
    }
  }
}
