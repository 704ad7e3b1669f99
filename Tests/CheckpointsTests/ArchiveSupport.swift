import EspalierBasics
import EspalierNumerics
import Synchronization
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// Packing files in tests.
enum Packing {
  static let fingerprint = Digest(of: "a test")

  /// Packs a file against others of its folder, as `NAME.packed`.
  @discardableResult
  static func pack(
    _ path: String, base: [String] = [], chunk: Int = 4096, threads: Int = 2, sha256: Bool = false,
    to target: String? = nil
  ) throws -> ArchiveWriter.Outcome {
    let workers = WorkerPool(threads: threads)
    defer { workers.stop() }
    let source = try WeightFile.bytes(of: path)
    var header = try ArchiveHeader(describing: source, chunkBytes: chunk)
    let files = try base.map { try WeightFile.bytes(of: "\(FileSystem.parent(of: path))/\($0)") }
    let used = try header.align(with: zip(base, files).map { ($0, $1) })
    if sha256 { header.sha256 = try FileHash.sha256(of: source) }
    let writer = try ArchiveWriter(
      source, header, base: used.map { files[$0] }, to: target ?? path + WeightFile.packedSuffix, workers: workers)
    return try writer.write(resume: false, fingerprint: fingerprint)
  }

  /// All bytes that a packed file stands for.
  static func bytes(of path: String) throws -> [UInt8] {
    let file = try ArchivedFile(at: path)
    return try file.read(try file.size(), at: 0)
  }

  /// Whether a file comes back from its packed one; the original's bytes from anywhere too.
  static func expectRoundTrip(of path: String, chunk: Int = 4096) throws {
    try pack(path, chunk: chunk)
    let original = try FileSystem.read(path)
    let archive = try ArchivedFile(at: path + WeightFile.packedSuffix)
    #expect(try archive.size() == original.count)
    let isEqual = try archive.read(original.count, at: 0) == original
    #expect(isEqual, "\(path)")
    var generator = SeededGenerator(seed: UInt64(original.count))
    for _ in 0..<40 {
      let first = Int.random(in: 0...original.count, using: &generator)
      let last = Int.random(in: first...min(original.count, first + 10000), using: &generator)
      let isEqual = try archive.read(last - first, at: first) == Array(original[first..<last])
      #expect(isEqual, "\(path) \(first)..<\(last)")
    }
    var end = 0
    for index in 0..<archive.pieceCount {
      #expect(archive.piece(index).lowerBound == end)
      end = archive.piece(index).upperBound
    }
    #expect(end == original.count)
  }

  /// A safetensors file with a header as it is given: other writers' order, spaces and padding.
  static func write(header: String, _ data: [UInt8], to path: String) throws {
    let text = Array(header.utf8)
    try FileSystem.write((0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) } + text + data, to: path)
  }
}

extension SeededGenerator {
  mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

/// A file whose reading fails after a while, as a run that is ended.
final class FailingSource: ByteSource {
  private let file: any ByteSource
  private let left: Mutex<Int>

  init(_ file: any ByteSource, reads: Int) {
    self.file = file
    left = Mutex(reads)
  }

  var path: String { file.path }
  func size() throws(Problem) -> Int { try file.size() }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Problem) {
    let isOver = left.withLock { left in
      left -= 1
      return left < 0
    }
    if isOver { throw Problem(.fileRead, "the test ends here", file: path) }
    try file.read(into: buffer, at: offset)
  }
}
