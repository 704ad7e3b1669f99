internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// Reading packed files whole, by all threads, a piece at a time.
enum ArchiveReading {
  /// Decodes everything, and gives each piece to a body.
  private static func forEach(
    _ archive: ArchivedFile, workers: WorkerPool,
    _ body: (_ bytes: UnsafeRawBufferPointer, _ offset: Int) throws(Problem) -> Void
  ) throws(Problem) {
    let rooms = BufferPool(byteCount: archive.header.chunkBytes)
    try workers.forEach(archive.pieceCount) { (index) throws(Problem) in
      try rooms.with { (room) throws(Problem) in
        let piece = archive.piece(index)
        let bytes = UnsafeMutableRawBufferPointer(rebasing: room[..<piece.count])
        try archive.read(into: bytes, at: piece.lowerBound)
        try body(UnsafeRawBufferPointer(bytes), piece.lowerBound)
      }
    }
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
