import EspalierBasics
import TestSupport
import Testing

@testable import EspalierExecution

@Suite struct JournalTests {
  private let records = (0..<4).map { index in
    TensorRecord(
      tensor: "tensor \"\(index)\"\n", digest: Digest(of: "\(index)"),
      inputs: [.init(file: "/models/ü.safetensors", tensor: "t", digest: Digest(of: "input"))])
  }

  private func withJournal(_ body: (String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/\(Journal.fileName)"
      do {
        let journal = try Journal.create(at: path, fingerprint: ["seed": 7])
        for record in records { try journal.record(record) }
      }
      try body(path)
    }
  }

  private func lines(_ path: String) throws -> [String] {
    String(decoding: try FileSystem.read(path), as: UTF8.self).split(separator: "\n").map(String.init)
  }

  private func write(_ lines: [String], to path: String, end: String = "\n") throws {
    try FileSystem.write(Array((lines.joined(separator: "\n") + end).utf8), to: path)
  }

  @Test func comesBackAsWritten() throws {
    try withJournal { path in
      let (_, fingerprint, found) = try #require(try Journal.resume(at: path))
      #expect(fingerprint == ["seed": 7])
      #expect(found == records)
    }
  }

  /// A crash while writing leaves a line without its end: it is forgotten, and the journal goes on after the last
  /// whole line.
  @Test func tornLastLine() throws {
    try withJournal { path in
      let whole = try FileSystem.read(path)
      let last = try lines(path).last ?? ""
      for cut in 1...last.utf8.count + 1 {
        try FileSystem.write(Array(whole.dropLast(cut)), to: path)
        let (journal, _, found) = try #require(try Journal.resume(at: path))
        #expect(found == Array(records.dropLast()), "\(cut) bytes cut")
        try journal.record(records[3])
      }
      #expect(try FileSystem.read(path) == whole)
    }
  }

  /// No byte of a whole journal can change unnoticed, but for the last line's end, which makes it a torn one.
  @Test func editedLines() throws {
    try withJournal { path in
      let whole = try FileSystem.read(path)
      for offset in whole.indices.dropLast() {
        var bytes = whole
        bytes[offset] ^= 1
        try FileSystem.write(bytes, to: path)
        #expect(problem { try Journal.resume(at: path) }?.code == .journalDamaged, "byte \(offset)")
      }
    }
  }

  @Test func reorderedDroppedAndRepeatedLines() throws {
    try withJournal { path in
      let lines = try lines(path)
      var swapped = lines
      swapped.swapAt(2, 3)
      for damaged in [swapped, Array(lines.dropFirst()), lines + [lines[2]], lines.filter { $0 != lines[2] }] {
        try write(damaged, to: path)
        #expect(problem { try Journal.resume(at: path) }?.code == .journalDamaged)
      }
      // Without its beginning there is nothing to continue.
      try write([], to: path, end: "")
      #expect(try Journal.resume(at: path) == nil)
    }
  }

  @Test func twoRunsCannotShareOne() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/\(Journal.fileName)"
      let journal = try Journal.create(at: path, fingerprint: [:])
      #expect(problem { try Journal.resume(at: path) }?.code == .fileLocked)
      try journal.record(records[0])
    }
  }
}
