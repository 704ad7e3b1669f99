import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// Packed files that are not what was written: an error that names the file, never other bytes, never a crash.
@Suite("Damaged packed files") struct ArchiveDamageTests {
  /// A small packed file with all kinds of parts: coded, constant, repeated, against a base.
  private func withArchive(lossy: Bool = false, _ body: (_ path: String) throws -> Void) throws {
    if lossy { return try withLossyArchive(body) }
    try withTemporaryFolder { folder in
      var generator = SeededGenerator(seed: 6)
      let values = generator.floats(300, scale: 0.02)
      let path = "\(folder)/a.safetensors"
      try TestTensor.write([TestTensor("near", [300], values, .bf16)], to: "\(folder)/base.safetensors")
      try TestTensor.write(
        [
          TestTensor("near", [300], values.map { $0 * 1.01 }, .bf16), TestTensor("alone", [100], generator.floats(100)),
          TestTensor("constant", [900], [Float](repeating: 2, count: 900), .f16),
          TestTensor("again", [900], [Float](repeating: 2, count: 900), .f16),
        ], to: path)
      try Packing.pack(path, base: ["base.safetensors"])
      try body(path + ".packed")
    }
  }

  /// One whose numbers were rounded to a lattice, with a tensor that was not.
  private func withLossyArchive(_ body: (_ path: String) throws -> Void) throws {
    try withTemporaryFolder { folder in
      var generator = SeededGenerator(seed: 7)
      let steps = (0..<20).map { 0.01 + 0.001 * Float($0 % 5) }
      let values = generator.floats(2000).enumerated().map { (($1 * 4).rounded() + 0) * steps[$0 % 20] }
      let path = "\(folder)/a.safetensors"
      try TestTensor.write(
        [TestTensor("rounded", [100, 20], values, .f32), TestTensor("kept", [30], generator.floats(30))], to: path)
      let source = try File.reading(path)
      var header = try ArchiveHeader(describing: source, chunkBytes: 4096)
      let part = try #require(header.parts.firstIndex { $0.name == "rounded" })
      header.loss = ArchiveLoss(parts: [.init(part: part, weightError: 0.1, outputError: 0.05)])
      let workers = WorkerPool(threads: 1)
      defer { workers.stop() }
      let writer = try ArchiveWriter(source, header, lattices: [part: steps], to: path + ".packed", workers: workers)
      _ = try writer.write(resume: false, fingerprint: Packing.fingerprint)
      #expect(try Packing.bytes(of: path + ".packed") == FileSystem.read(path))
      #expect(try File.reading(path + ".packed").size() < 4000)
      try body(path + ".packed")
    }
  }

  private func expectRefusal(_ path: String, _ what: String) {
    let found = problem { try Packing.bytes(of: path) }
    #expect(found?.context.file == path, "\(what): \(found.map { "\($0)" } ?? "no problem")")
  }

  @Test("Every flipped bit pattern of every byte", arguments: [0x01, 0x80, 0xFF] as [UInt8], [false, true])
  func flippedBytes(mask: UInt8, lossy: Bool) throws {
    try withArchive(lossy: lossy) { path in
      let whole = try FileSystem.read(path)
      #expect((1000..<8000).contains(whole.count))
      for offset in whole.indices {
        try flip(path, at: offset, mask: mask)
        expectRefusal(path, "byte \(offset)")
        try flip(path, at: offset, mask: mask)
      }
      #expect(try Packing.bytes(of: path).count > 0)
    }
  }

  @Test("Every truncation, bytes behind the end, an empty file", arguments: [false, true])
  func truncations(lossy: Bool) throws {
    try withArchive(lossy: lossy) { path in
      let whole = try FileSystem.read(path)
      for extra in [1, 8, 40] {
        try FileSystem.write(whole + [UInt8](repeating: 0, count: extra), to: path)
        expectRefusal(path, "\(extra) more")
      }
      try FileSystem.write(whole, to: path)
      for length in whole.indices.reversed() {
        try File.writing(path).resize(to: length)
        expectRefusal(path, "length \(length)")
      }
    }
  }

  @Test("Swapped chunks and swapped files")
  func swaps() throws {
    try withArchive { path in
      let whole = try FileSystem.read(path)
      var generator = SeededGenerator(seed: 7)
      for _ in 0..<200 {
        var changed = whole
        let count = Int.random(in: 1...60, using: &generator)
        let places = (0..<2).map { _ in Int.random(in: 0...(whole.count - count), using: &generator) }
        changed.replaceSubrange(places[0]..<places[0] + count, with: whole[places[1]..<places[1] + count])
        try FileSystem.write(changed, to: path)
        if changed != whole { expectRefusal(path, "\(places) \(count)") }
      }
    }
  }

  // MARK: - Forged headers

  /// A packed file with the right digest over a header that no writer makes.
  private func forge(_ description: String, stored: [Int] = [], to path: String) throws {
    var (offset, entries) = (16, #""espalier.check":{"dtype":"U8","shape":[16],"data_offsets":[0,16]}"#)
    for (index, count) in stored.enumerated() {
      entries += #","t\#(index)":{"dtype":"U8","shape":[\#(count)],"data_offsets":[\#(offset),\#(offset + count)]}"#
      offset += count
    }
    let metadata = JSON.object([("espalier_archive", .string(description))]).text()
    let text = Array("{\"__metadata__\":\(metadata),\(entries)}".utf8)
    let head = (0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) } + text
    let file = try File.writing(path, truncate: true)
    try file.write(head + head.withUnsafeBytes { Digest(of: $0) }.bytes, at: 0)
    try file.resize(to: head.count + offset)
  }

  @Test(
    "Headers that no writer makes",
    arguments: [
      #""nothing""#, "{", #"{"version":2}"#, #"{"version":0,"bytes":0,"chunk":4096,"parts":[]}"#,
      #"{"version":1,"bytes":1,"chunk":4096,"parts":[]}"#, #"{"version":1,"bytes":0,"chunk":100,"parts":[]}"#,
      #"{"version":1,"bytes":0,"chunk":134217728,"parts":[]}"#, #"{"version":1,"bytes":-1,"chunk":4096,"parts":[]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"parts":[["u8",9,"same",0]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"parts":[["u8",9,"same",-1]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"parts":[["q8",9]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"parts":[["u8"]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"parts":[["u8",9,"base",0,0]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"base":[{"path":"b","bytes":8}],"parts":[["u8",9,"base",0,0]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"base":[{"path":"b"}],"parts":[["u8",9,"base",0,0]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"base":[{"path":"b","bytes":99}],"parts":[["u8",9,"base",0,-1]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"parts":[["u8",9,"other",0]]}"#,
      #"{"version":1,"bytes":4,"chunk":4096,"parts":[["u8",4],["u8",0]]}"#,
      #"{"version":1,"bytes":300,"chunk":4096,"parts":[["u8",300]]}"#,
      // Each as it should be but for one thing.
      #"{"version":1,"bytes":9,"chunk":4096,"parts":[["f32",9]],"lossy":[]}"#,
      #"{"version":2,"bytes":9,"chunk":4096,"parts":[["f32",9]]}"#,
      #"{"version":2,"bytes":9,"chunk":4096,"parts":[["u8",9]],"lossy":[[0,0.5]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"base":{},"parts":[["u8",9]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"base":"b","parts":[["u8",9]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"base":[{"path":"b","bytes":1125899906842624}],"parts":[["u8",9]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"sha256":"00ff","parts":[["u8",9]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"sha256":7,"parts":[["u8",9]]}"#,
      #"{"version":1,"bytes":9,"chunk":4096,"sha256":"\#(String(repeating: "G", count: 64))","parts":[["u8",9]]}"#,
      #"{"version":1,"bytes":9,"chunk":33554432,"parts":[["u8",9]]}"#,
    ])
  func forgedHeaders(description: String) throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/x.safetensors.packed"
      for stored in [[], [39], [49], [49, 50]] {
        try forge(description, stored: stored, to: path)
        expectRefusal(path, description)
      }
    }
  }

  @Test("Repeated parts longer than any file")
  func endlessParts() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/x.safetensors.packed"
      let repeated = [String](repeating: #"["u8",281474976710656,"same",0]"#, count: 1 << 15).joined(separator: ",")
      let parts = #"[["u8",281474976710656],\#(repeated)]"#
      for bytes in [0, 1 << 48, .max] {
        try forge(#"{"version":1,"bytes":\#(bytes),"chunk":67108864,"parts":\#(parts)}"#, stored: [40 << 22], to: path)
        let found = problem { try ArchivedFile(at: path) }
        #expect(found?.context.file == path, "\(bytes)")
      }
    }
  }

  @Test("Anything but a packed file is not taken for one")
  func otherFiles() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/x.safetensors.packed"
      try TestTensor.write([TestTensor("a", [3], [1, 2, 3])], to: path)
      #expect(problem { try ArchivedFile(at: path) }?.code == .archiveFormat)
      try forge(#"{"version":3}"#, to: path)
      #expect(problem { try ArchivedFile(at: path) }?.code == .archiveFormat)
    }
  }

  @Test("What is stored are bytes, in the outer header too")
  func storedTypes() throws {
    try withArchive { path in
      for (type, isRefused) in [("U8", false), ("I8", true)] {
        var whole = try FileSystem.read(path)
        let place = try #require(whole.indices.first { whole[$0...].starts(with: "\"U8\",\"shape\":[16]".utf8) })
        whole.replaceSubrange(place + 1..<place + 3, with: type.utf8)
        let end = 8 + whole[..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
        let digest = whole[..<end].withUnsafeBytes { Digest(of: $0) }
        whole.replaceSubrange(end..<end + 16, with: digest.bytes)
        try FileSystem.write(whole, to: path)
        #expect((problem { try ArchivedFile(at: path) }?.code == .archiveDamaged) == isRefused, "\(type)")
      }
    }
  }

  @Test("What a file lost is told as it should be, or the file is damaged")
  func losses() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/x.safetensors.packed"
      let parts = #""bytes":9,"chunk":4096,"parts":[["bf16",4],["f32",5]]"#
      func found(_ lossy: String) throws -> ArchiveLoss? {
        try forge("{\"version\":2,\(parts),\"lossy\":\(lossy)}", stored: [41, 42], to: path)
        return try ArchivedFile(at: path).header.loss
      }
      let parsed = try found("[[0,0.25,0.5],[1,0]]")?.parts
      #expect(
        parsed == [
          ArchiveLoss.Part(part: 0, weightError: 0.25, outputError: 0.5),
          ArchiveLoss.Part(part: 1, weightError: 0, outputError: nil),
        ])
      for lossy in [
        "1", "[1]", "[[0]]", "[[2,0.1]]", "[[-1,0.1]]", "[[1,0.1],[0,0.1]]", "[[0,0.1],[0,0.1]]", "[[0,-1]]",
        "[[0,0.1,-1]]", "[[0,0.1,0.1,0.1]]", #"[["0",0.1]]"#, "[[0,null]]",
      ] {
        #expect(problem { try found(lossy) }?.code == .archiveDamaged, "\(lossy)")
      }
    }
  }
}
