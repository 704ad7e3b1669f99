import EspalierBasics
import TestSupport
import Testing

/// What `forward` says of inputs that cannot be meant, and of a config that leaves weights unread.
@Suite struct ForwardTests {
  private static let model = "\(packageFolder)/Models/base"

  /// Writes a safetensors file of `[1, n]` whole numbers.
  private static func write(_ tensors: [(name: String, values: [Int])], to path: String) throws {
    var offset = 0
    let members = tensors.map { tensor -> (String, JSON) in
      defer { offset += 8 * tensor.values.count }
      let end = offset + 8 * tensor.values.count
      return (
        tensor.name,
        [
          "dtype": "I64", "shape": [1, .number(tensor.values.count)],
          "data_offsets": [.number(offset), .number(end)],
        ]
      )
    }
    let header = Array(JSON.object(members).text().utf8)
    let bytes = tensors.flatMap { $0.values.flatMap(TestGGUF.u64) }
    try FileSystem.write(TestGGUF.u64(header.count) + header + bytes, to: path)
  }

  @Test func masksAreOfZerosAndOnes() throws {
    try withTemporaryFolder { folder in
      for name in ["attention_mask", "decoder_attention_mask"] {
        try Self.write([("input_ids", [5, 6]), (name, [1, 2])], to: "\(folder)/in")
        let outcome = try Program.run("forward", Self.model, "--inputs", "\(folder)/in", "-o", "\(folder)/out")
        #expect(outcome.code == 1 && outcome.errors.contains("error: \(name) is 2 somewhere"), "\(outcome)")
        #expect(FileSystem.kind("\(folder)/out") == nil)
      }
    }
  }

  @Test func pixelsThatAreNoNumbersAreRefused() throws {
    try withTemporaryFolder { folder in
      try TestTensor.write([TestTensor("pixel_values", [1, 1, 1, 2], [0, .nan])], to: "\(folder)/in")
      let outcome = try Program.run("forward", Self.model, "--inputs", "\(folder)/in", "-o", "\(folder)/out")
      #expect(outcome.code == 1 && outcome.errors.contains("pixel_values is nan at [0, 0, 0, 1]"), "\(outcome)")
    }
  }

  @Test func weightsThatNothingReadsAreNamed() throws {
    try withTemporaryFolder { folder in
      let (copy, unread) = try copyWithoutLastLayer(of: Self.model, in: folder)
      try Self.write([("input_ids", [5, 6])], to: "\(folder)/in")
      let outcome = try Program.run("forward", copy, "--inputs", "\(folder)/in", "-o", "\(folder)/out")
      #expect(
        outcome.code == 0 && outcome.errors.contains("warning: 9 stored tensors are read by nothing"), "\(outcome)")
      #expect(outcome.errors.contains(unread), "\(outcome)")
      let whole = try Program.run("forward", Self.model, "--inputs", "\(folder)/in", "-o", "\(folder)/whole")
      #expect(whole.code == 0 && whole.errors.isEmpty, "\(whole)")
    }
  }
}
