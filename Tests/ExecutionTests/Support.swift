import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics

@testable import EspalierExecution

/// A job that writes bytes it is given, or fails instead.
struct WriteJob: TensorJob {
  var outputIndex: Int
  var bytes: [UInt8]
  var failure: Problem?
  var movedBytes: Int { bytes.count }
  var residentBytes = 0
  var threadBytes = 0

  func run(_ context: JobContext) throws(Problem) {
    if let failure { throw failure }
    let result: Result<Void, Problem> = bytes.withUnsafeBytes { bytes in
      Result { () throws(Problem) in
        try context.write(bytes, at: 0)
        context.written(ChunkedDigest.digest(of: bytes))
      }
    }
    try result.get()
  }
}

/// An output of three small tensors in two files.
enum Sample {
  static let layout = OutputLayout(
    [
      .init(name: "a", elementType: .f32, shape: [2, 3]), .init(name: "b", elementType: .bf16, shape: [5]),
      .init(name: "c", elementType: .i64, shape: []),
    ], shardBytes: 34)
  static let fingerprint: JSON = ["recipe": "r", "seed": 1]
  static let contents: [[UInt8]] = [Array(1...24), Array(101...110), Array(201...208)]

  static func jobs(failingAt failed: Int? = nil) -> [WriteJob] {
    contents.indices.map {
      WriteJob(outputIndex: $0, bytes: contents[$0], failure: $0 == failed ? Problem(.fileWrite, "stopped") : nil)
    }
  }

  static func open(
    _ path: String, resume: Bool = false, force: Bool = false, fingerprint: JSON = fingerprint
  ) throws -> OutputFolder {
    try OutputFolder(
      at: path, layout: layout, fingerprint: fingerprint, policy: .init(resume: resume, force: force))
  }

  /// Runs jobs one after the other; the number of tensors taken over.
  static func run(_ jobs: [WriteJob], into output: OutputFolder) throws -> Int {
    let runner = JobRunner(threads: 1, memory: 1 << 30, allowsNonFinite: false, listener: SilentListener())
    return try runner.run(jobs, into: output, plan: try runner.plan(jobs, layout: layout, headerBytes: 0))
  }

  static func commit(_ output: OutputFolder, keepingJournal: Bool = false) throws {
    let small = [(name: "config.json", bytes: Array("{}".utf8))]
    let manifest = Manifest.json(
      made: [("verb", "test")], layout: layout, records: output.finishedRecords(), small: small, fileDigests: [:])
    try output.commit(
      adding: small + [(Manifest.fileName, manifest.bytes(pretty: true))], keepingJournal: keepingJournal)
  }

  /// A finished output.
  static func make(at path: String, keepingJournal: Bool = false) throws {
    let output = try open(path)
    _ = try run(jobs(), into: output)
    try commit(output, keepingJournal: keepingJournal)
  }
}
