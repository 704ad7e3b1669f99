import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierExecution

@Suite struct OutputLayoutTests {
  private func request(_ name: String, _ type: ElementType, _ shape: [Int]) -> OutputLayout.Request {
    .init(name: name, elementType: type, shape: shape)
  }

  /// A shard ends before the tensor that would carry it past the limit; a tensor larger than that has one alone.
  @Test func shards() {
    let sizes = [40, 40, 30, 200, 10, 90, 1]
    let layout = OutputLayout(
      sizes.enumerated().map { request("t\($0.offset)", .u8, [$0.element]) }, shardBytes: 100)
    #expect(layout.tensors.map(\.file) == [0, 0, 1, 2, 3, 3, 4])
    #expect(layout.files.map(\.name).first == "model-00001-of-00005.safetensors")
    #expect(layout.files.map(\.name).last == "model-00005-of-00005.safetensors")
  }

  /// The parts of a reduced parameter stay together, and each file tells of its own parameters.
  @Test func reducedParametersAreNotPartedAndAreToldByTheirFile() throws {
    func part(_ name: String, _ parameter: String, _ shape: [Int]) -> OutputLayout.Request {
      .init(
        name: name, elementType: .f32, shape: shape,
        reduced: .init(name: parameter, form: .lowRank, shape: [8, 8]))
    }
    let requests = [
      request("a", .f32, [10]), part("b.left", "b", [8, 1]), part("b.right", "b", [1, 8]),
      part("c.left", "c", [8, 2]), part("c.right", "c", [2, 8]), request("d", .u8, [3]),
    ]
    let layout = OutputLayout(requests, shardBytes: 120, metadata: [("format", "pt"), ("who", "test")], stem: "part")
    #expect(layout.tensors.map(\.file) == [0, 0, 0, 1, 1, 2])
    #expect(layout.files.map(\.name)[1] == "part-00002-of-00003.safetensors")
    try withTemporaryFolder { folder in
      for file in layout.files {
        try FileSystem.write(
          file.header + [UInt8](repeating: 0, count: file.byteCount - file.header.count), to: "\(folder)/\(file.name)")
      }
      let checkpoint = try SafetensorsCheckpoint(at: folder)
      #expect(checkpoint.parameters.map(\.name) == ["a", "b", "c", "d"])
      #expect(checkpoint.parameters.map { $0.reducedForm?.form } == [nil, .lowRank, .lowRank, nil])
      #expect(checkpoint.parameters[1].shape == [8, 8])
      let last = try SafetensorsHeader(reading: try File.reading("\(folder)/part-00003-of-00003.safetensors"))
      #expect(last.metadata.map(\.key) == ["format", "who"])
    }
  }

  @Test func oneFileHasNoIndex() {
    let layout = OutputLayout([request("a", .f32, [3]), request("b", .f32, [])], shardBytes: 1000)
    #expect(layout.files.map(\.name) == ["model.safetensors"])
    #expect(layout.index == nil)
  }

  @Test func indexNamesEveryTensor() throws {
    let layout = OutputLayout([request("b", .f32, [3]), request("a", .f32, [5])], shardBytes: 13)
    let index = try #require(layout.index)
    #expect(index["metadata"]?["total_size"] == 32)
    #expect(index["weight_map"]?.members?.keys == ["a", "b"])
    #expect(index["weight_map"]?["a"] == "model-00002-of-00002.safetensors")
  }

  /// Headers are what a reader expects: every tensor where the layout says, aligned to its element.
  @Test func headersParse() throws {
    // All types, in shapes of none to three dimensions, some of them empty.
    let types = ElementType.allCases
    let requests = (0..<4 * types.count).map { index in
      request("tensor.\(index)", types[index % types.count], (0..<index % 4).map { (index * 7 + $0 * 5) % 10 })
    }
    let layout = OutputLayout(requests, shardBytes: 2000)
    try withTemporaryFolder { folder in
      for (number, file) in layout.files.enumerated() {
        #expect(file.header.count % 8 == 0)
        let path = "\(folder)/\(file.name)"
        try FileSystem.write(file.header + [UInt8](repeating: 0, count: file.byteCount - file.header.count), to: path)
        let found = try SafetensorsHeader(reading: try File.reading(path)).tensors
        let expected = layout.tensors.filter { $0.file == number }
        #expect(found.count == expected.count)
        for tensor in expected {
          let stored = try #require(found.first { $0.name == tensor.name })
          #expect(stored.offset == tensor.offset && stored.shape == tensor.shape)
          #expect(stored.elementType == tensor.elementType)
          #expect(tensor.offset % tensor.elementType.byteWidth == 0, "\(tensor)")
        }
      }
    }
    #expect(layout.tensors.map(\.name) == requests.map(\.name))
    #expect(layout.byteCount == layout.files.reduce(0) { $0 + $1.byteCount })
  }
}
