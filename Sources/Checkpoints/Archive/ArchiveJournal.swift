internal import EspalierBasics

/// What an unfinished packed file holds already: `PATH.journal`, a digest of what the run was begun with, then the records of
/// chunks in their order, each with its own digest. Records from the first that is not what was written are what a crash
/// leaves; they are forgotten.
final class ArchiveJournal {
  let records: [ArchiveChunk]
  private let file: File
  private var end = 0

  private static let headBytes = 16
  private static let entryBytes = ArchiveChunk.recordBytes + 16

  static func path(beside path: String) -> String { path + ".journal" }

  /// - Throws: `file.locked` if another run is writing; `journal.mismatch` if what is there was begun with something else.
  init(beside path: String, fingerprint: Digest, resume: Bool) throws(Problem) {
    let path = Self.path(beside: path)
    let isThere = FileSystem.isFile(path)
    file = try File.writing(path)
    guard file.tryLock() else {
      throw Problem(
        .fileLocked, "another run is writing this output", remedy: "Wait for it, or choose another output.", file: path)
    }
    let bytes = isThere && resume ? try file.read(try file.size(), at: 0) : []
    guard bytes.count >= Self.headBytes else {
      records = []
      try file.resize(to: 0)
      try file.write(fingerprint.bytes, at: 0)
      end = Self.headBytes
      return
    }
    guard Array(bytes[..<Self.headBytes]) == fingerprint.bytes else {
      throw Problem(
        .archiveJournal, "what is there was begun from another file, or with other options",
        remedy: "Restore what changed, or start over with --force.", file: path)
    }
    var records: [ArchiveChunk] = []
    for index in 0..<(bytes.count - Self.headBytes) / Self.entryBytes {
      let entry = bytes[Self.headBytes + index * Self.entryBytes..<Self.headBytes + (index + 1) * Self.entryBytes]
      guard let record = ArchiveChunk(entry.prefix(ArchiveChunk.recordBytes)), Self.entry(record) == Array(entry) else {
        break
      }
      records.append(record)
    }
    self.records = records
    end = Self.headBytes + records.count * Self.entryBytes
  }

  private static func entry(_ record: ArchiveChunk) -> [UInt8] {
    let bytes = record.bytes
    return bytes + bytes.withUnsafeBytes { Digest(of: $0) }.bytes
  }

  /// Forgets all but the first records.
  func keep(_ count: Int) throws(Problem) {
    end = Self.headBytes + count * Self.entryBytes
    try file.resize(to: end)
  }

  func append(_ records: [ArchiveChunk]) throws(Problem) {
    let bytes = records.flatMap { Self.entry($0) }
    try file.write(bytes, at: end)
    end += bytes.count
  }

  func remove() throws(Problem) { try FileSystem.remove(file.path) }
}

extension Problem.Code {
  static let archiveJournal = Problem.Code("journal.mismatch")
}
