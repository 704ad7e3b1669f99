import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierExecution

/// Copies stored tensors, alone or after comparing them.
private struct CopyJob: TensorJob {
  var outputIndex = 0
  var tensors: [StoredTensor]
  var movedBytes: Int { 0 }
  var residentBytes: Int { 0 }
  var threadBytes: Int { 0 }

  func run(_ context: JobContext) throws(Problem) {
    if tensors.count == 1 {
      try RawCopy.copy(tensors[0], context: context)
    } else {
      try RawCopy.copyIdentical(tensors, context: context)
    }
  }
}

@Suite struct RawCopyTests {
  /// More than two digest chunks, and no multiple of anything.
  private static let bytes: [UInt8] = (0..<(8 << 20) + 12_347).map { UInt8(truncatingIfNeeded: $0 &* 31 >> 3) }

  /// Copies tensors of these bytes, each from a file of its own; the bytes and the record written.
  private func copy(
    _ contents: [[UInt8]], type: ElementType, allowsNonFinite: Bool = false
  ) throws -> (bytes: [UInt8], record: TensorRecord?) {
    try withTemporaryFolder { folder in
      let shape = [contents[0].count / type.byteWidth]
      var tensors: [StoredTensor] = []
      for (index, bytes) in contents.enumerated() {
        let path = "\(folder)/\(index).safetensors"
        let header = SafetensorsHeader.bytes(for: [("t", type, shape)], metadata: [])
        try FileSystem.write(header + bytes, to: path)
        tensors += try SafetensorsHeader(reading: try File.reading(path)).tensors
      }
      let layout = OutputLayout([.init(name: "t", elementType: type, shape: shape)], shardBytes: 1 << 40)
      let output = try OutputFolder(at: "\(folder)/out", layout: layout, fingerprint: [:], policy: .init())
      let runner = JobRunner(
        threads: 3, memory: 1 << 30, allowsNonFinite: allowsNonFinite, listener: SilentListener())
      let jobs = [CopyJob(tensors: tensors)]
      _ = try runner.run(jobs, into: output, plan: try runner.plan(jobs, layout: layout, headerBytes: 0))
      let written = try FileSystem.read("\(folder)/out.partial/model.safetensors")
      return (Array(written.dropFirst(layout.tensors[0].offset)), output.finishedRecords().first)
    }
  }

  @Test func oneTensor() throws {
    let (bytes, record) = try copy([Self.bytes], type: .u8)
    #expect(bytes == Self.bytes)
    let digest = Self.bytes.withUnsafeBytes { ChunkedDigest.digest(of: $0) }
    #expect(record?.digest == digest)
    #expect(record?.inputs.map(\.digest) == [digest])
  }

  @Test func emptyTensor() throws {
    #expect(try copy([[]], type: .f32).bytes == [])
    #expect(try copy([[], []], type: .i64).bytes == [])
  }

  @Test func identicalTensors() throws {
    let (bytes, record) = try copy([Self.bytes, Self.bytes, Self.bytes], type: .i8)
    #expect(bytes == Self.bytes)
    #expect(record?.inputs.count == 3)
  }

  /// One byte in eight million is enough; the file and the model's tensor are named.
  @Test(arguments: [0, 4 << 20, (8 << 20) + 12_346]) func differentTensors(_ offset: Int) throws {
    var other = Self.bytes
    other[offset] ^= 0x80
    let found = problem { try copy([Self.bytes, Self.bytes, other], type: .i8) }
    #expect(found?.code == .valuesDiffer)
    #expect(found?.context.file?.hasSuffix("2.safetensors") == true)
  }

  /// Of one element that differs the first is carried; the record has what each model held.
  @Test func differentCounters() throws {
    let values: [[UInt8]] = [[5, 0, 0, 0], [6, 0, 0, 0], [5, 0, 0, 0]]
    let (bytes, record) = try copy(values, type: .i32)
    #expect(bytes == values[0])
    let digests = values.map { $0.withUnsafeBytes { ChunkedDigest.digest(of: $0) } }
    #expect(record?.digest == digests[0])
    #expect(record?.inputs.map(\.digest) == digests)
  }

  /// NaN and infinity of every float type that has them stop a copy, unless they are allowed.
  @Test(arguments: [
    (ElementType.f32, [UInt8]([0, 0, 0xc0, 0x7f])), (.f32, [0, 0, 0x80, 0xff]), (.f16, [0, 0x7c]), (.f16, [1, 0xfc]),
    (.bf16, [0x80, 0x7f]), (.bf16, [0xc0, 0xff]), (.f64, [0, 0, 0, 0, 0, 0, 0xf0, 0x7f]), (.f8e4m3, [0x7f]),
    (.f8e5m2, [0x7c]),
  ])
  func valuesThatAreNotFinite(_ type: ElementType, _ bad: [UInt8]) throws {
    var bytes = [UInt8](repeating: 0, count: 1000 * type.byteWidth)
    bytes.replaceSubrange(900 * type.byteWidth..<901 * type.byteWidth, with: bad)
    let found = problem { try copy([bytes], type: type) }
    #expect(found?.code == .nonFiniteInput)
    #expect(found?.context.tensor == "t")
    #expect(try copy([bytes], type: type, allowsNonFinite: true).bytes == bytes)
  }

  /// The largest finite values pass.
  @Test(arguments: [
    (ElementType.f32, [UInt8]([0xff, 0xff, 0x7f, 0x7f])), (.f16, [0xff, 0x7b]), (.bf16, [0x7f, 0xff]),
    (.f8e4m3, [0x7e]), (.f8e5m2, [0x7b]),
  ])
  func largestFiniteValues(_ type: ElementType, _ bytes: [UInt8]) throws {
    #expect(try copy([bytes], type: type).bytes == bytes)
  }
}
