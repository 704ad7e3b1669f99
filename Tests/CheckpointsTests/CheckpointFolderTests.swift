import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

@Suite struct CheckpointFolderTests {
  private func tensor(_ name: String, _ value: Float) -> TestTensor {
    TestTensor(name, [2], [value, value])
  }

  /// Opens a folder of shards `a` (tensors x, y) and `b` (tensor z) with the given index.
  private func open(index: String) throws -> (checkpoint: SafetensorsCheckpoint?, problems: [Problem]) {
    try withTemporaryFolder { folder in
      try TestTensor.write([tensor("x", 1), tensor("y", 2)], to: "\(folder)/a.safetensors")
      try TestTensor.write([tensor("z", 3)], to: "\(folder)/b.safetensors")
      try FileSystem.write(Array(index.utf8), to: "\(folder)/model.safetensors.index.json")
      do throws(Problems) { return (try SafetensorsCheckpoint(at: folder), []) } catch { return (nil, error.all) }
    }
  }

  @Test func shardsAreOneModel() throws {
    let opened = try open(
      index: #"{"metadata": {}, "weight_map": {"z": "b.safetensors", "x": "a.safetensors", "y": "a.safetensors"}}"#)
    let checkpoint = try #require(opened.checkpoint)
    #expect(checkpoint.parameters.map(\.name) == ["x", "y", "z"])
    #expect(checkpoint.weightFiles.map(FileSystem.lastComponent) == ["a.safetensors", "b.safetensors"])
    #expect(checkpoint.warnings.isEmpty && checkpoint.config == nil)
    #expect(checkpoint.metadata.map(\.value) == ["pt"])
  }

  @Test func aTensorTheIndexForgetsIsCarried() throws {
    let opened = try open(index: #"{"weight_map": {"z": "b.safetensors", "x": "a.safetensors"}}"#)
    let checkpoint = try #require(opened.checkpoint)
    #expect(checkpoint.parameters.map(\.name) == ["x", "y", "z"])
    #expect(checkpoint.warnings.map(\.context.tensor) == ["y"])
  }

  @Test(arguments: [
    // A tensor that is nowhere, and one that is elsewhere.
    (#"{"weight_map": {"x": "a.safetensors", "w": "b.safetensors"}}"#, Problem.Code.checkpointIndex),
    (#"{"weight_map": {"x": "b.safetensors", "y": "a.safetensors"}}"#, .checkpointIndex),
    (#"{"weight_map": {"x": "c.safetensors"}}"#, .fileMissing),
    (#"{"weight_map": {"x": "../a.safetensors"}}"#, .checkpointIndex),
    (#"{"weight_map": {"x": "/etc/a.safetensors"}}"#, .checkpointIndex),
    (#"{"weight_map": {"x": "..\\a.safetensors"}}"#, .checkpointIndex),
    (#"{"weight_map": {"x": "a\u0000.safetensors"}}"#, .checkpointIndex),
    (#"{"weight_map": {"x": "passwd"}}"#, .checkpointIndex),
    (#"{"weight_map": {"x": 3}}"#, .checkpointIndex),
    (#"{"weight_map": {"x": "a.safetensors", "x": "b.safetensors"}}"#, .json),
    (#"{"weight_map": []}"#, .checkpointIndex),
    ("{}", .checkpointIndex), ("[]", .checkpointIndex), ("", .json), ("not json", .json),
  ])
  func aWrongIndexIsAProblem(_ index: String, _ code: Problem.Code) throws {
    let found = try open(index: index).problems
    #expect(found.contains { $0.code == code }, "\(found)")
    #expect(found.allSatisfy { $0.context.file != nil })
  }

  @Test func aTensorStoredTwiceIsAProblem() throws {
    try withTemporaryFolder { folder in
      try TestTensor.write([tensor("x", 1)], to: "\(folder)/a.safetensors")
      try TestTensor.write([tensor("x", 2), tensor("y", 2)], to: "\(folder)/b.safetensors")
      let found = problems { () throws(Problems) in try SafetensorsCheckpoint(at: folder) }
      #expect(found.map(\.code) == [.checkpointIndex] && found.map(\.context.tensor) == ["x"])
    }
  }

  @Test func everyBrokenShardIsReported() throws {
    try withTemporaryFolder { folder in
      try FileSystem.write([1, 2, 3], to: "\(folder)/a.safetensors")
      try FileSystem.write([], to: "\(folder)/b.safetensors")
      try FileSystem.write(Array("[]".utf8), to: "\(folder)/config.json")
      let found = problems { () throws(Problems) in try SafetensorsCheckpoint(at: folder) }
      #expect(found.map(\.code) == [.checkpointConfig, .safetensorsHeader, .safetensorsHeader])
      #expect(
        found.compactMap(\.context.file).map(FileSystem.lastComponent) == [
          "config.json", "a.safetensors", "b.safetensors",
        ])
    }
  }

  @Test(arguments: ["pytorch_model.bin", "model.pt", "consolidated.pth"])
  func otherFormatsAreNamed(_ file: String) throws {
    try withTemporaryFolder { folder in
      try FileSystem.write([0], to: "\(folder)/\(file)")
      let found = problems { () throws(Problems) in try SafetensorsCheckpoint(at: folder) }
      #expect(found.count == 1 && found[0].code == .checkpointFormat && found[0].message.contains(file))
    }
  }

  @Test func nothingThereIsAProblem() throws {
    try withTemporaryFolder { folder in
      let empty = problems { () throws(Problems) in try SafetensorsCheckpoint(at: folder) }
      #expect(empty.map(\.code) == [.checkpointFormat])
      let missing = problems { () throws(Problems) in try SafetensorsCheckpoint(at: "\(folder)/none") }
      #expect(missing.map(\.code) == [.checkpointMissing])
    }
  }
}
