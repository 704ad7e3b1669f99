import EspalierBasics
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// Quantized matrices in memory as they are coded.
@Suite struct PackedLoadingTests {
  private func load(_ storage: PackedStorage) throws -> PackedMatrix {
    let layout = try #require(storage.layout)
    // Somewhere in a buffer that is not empty.
    let buffer = try AlignedBuffer(byteCount: layout.byteCount + 64)
    buffer.bytes.initializeMemory(as: UInt8.self, repeating: 0x5a)
    return try storage.load(layout, into: buffer, offset: 64, files: FilePool())
  }

  @Test(arguments: PackedGoldenTests.matrices + PackedGoldenTests.models) func numbersAreThoseOfTheReader(name: String)
    throws
  {
    let checkpoint = try SafetensorsCheckpoint(at: "\(Fixtures.packed)/\(name)")
    var compared = 0
    for parameter in checkpoint.parameters {
      guard let storage = parameter.packedForm else { continue }
      let map = try load(storage)
      #expect(map.outputWidth == storage.rows && map.inputWidth == storage.columns)
      let values = try parameter.recipe.values()
      #expect(try map.materialized().elements.map(\.bitPattern) == values.map(\.bitPattern), "\(parameter.name)")
      // Codes stay packed: what a file has, scales of 32 bits, zero points of 8, an index and a place a column, and rounding.
      let stored =
        storage.parts.reduce(0) { $0 + $1.byteCount } + storage.scales.byteCount
        + storage.scaleRows * storage.groupCount
      #expect(map.byteCount <= stored + 4 * storage.columns + 640)
      compared += 1
    }
    #expect(compared > 0)
  }

  @Test func columnsOfGroupsThatDoNotExistAreRefused() throws {
    try withTemporaryFolder { folder in
      let names = ["weight_packed", "weight_scale", "weight_g_idx", "weight_shape"].map { "m.\($0)" }
      let shape = [8, 64].flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) } }
      var tensors = [
        TestTensor.words(names[0], [8, 8]), TestTensor(names[1], [8, 2], [Float](repeating: 1, count: 16)),
        TestTensor.words(names[2], [64]), TestTensor(names[3], [2], bytes: shape, .i64),
      ]
      tensors[2].bytes[4 * 9] = 2
      let section: JSON = [
        "quant_method": "compressed-tensors", "format": "pack-quantized",
        "config_groups": [
          "group_0": [
            "targets": ["Linear"],
            "weights": [
              "num_bits": 4, "type": "int", "symmetric": true, "strategy": "group", "group_size": 32,
              "actorder": "group",
            ],
          ]
        ],
      ]
      try writeCheckpoint(tensors, section, to: folder)
      let storage = try #require(try SafetensorsCheckpoint(at: folder).parameters.first?.packedForm)
      let found = problem { try load(storage) }
      #expect(found?.code == .checkpointPacked)
      #expect(found?.message == "column 9 is in group 2 of 2")
    }
  }

  @Test func floatsWithZeroPointsAreRead() throws {
    // No map is like that, so that such a matrix is widened when it is loaded.
    let codes = TestTensor("m.weight", [2, 32], [Float](repeating: 1, count: 64), .f8e4m3)
    let scales = TestTensor("m.weight_scale", [2, 1], [1, 2])
    let zeros = TestTensor("m.weight_zero_point", [2, 1], [1, 1], .f8e4m3)
    try withTemporaryFolder { folder in
      let section: JSON = [
        "quant_method": "compressed-tensors", "format": "float-quantized",
        "config_groups": [
          "group_0": [
            "targets": ["Linear"],
            "weights": ["num_bits": 8, "type": "float", "symmetric": false, "strategy": "channel"],
          ]
        ],
      ]
      try writeCheckpoint([codes, scales, zeros], section, to: folder)
      let parameter = try #require(try SafetensorsCheckpoint(at: folder).parameters.first)
      #expect(parameter.packedForm != nil && parameter.packedForm?.layout == nil)
      #expect(try parameter.recipe.values() == [Float](repeating: 0, count: 64))
    }
  }
}
