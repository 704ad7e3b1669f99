import EspalierBasics
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCheckpoints

/// Models in one file, in several, and in folders.
@Suite struct GGUFFilesTests {
  /// Writes a model of two tensors a part.
  private static func writeParts(_ count: Int, in folder: String, change: (Int, inout TestGGUF) -> Void = { _, _ in })
    throws
  {
    for part in 0..<count {
      var file = TestGGUF()
      if part == 0 { file.add("general.architecture", "made-up") }
      file.entries.append(("split.no", 2, [UInt8(part), 0]))
      file.entries.append(("split.count", 2, [UInt8(count), 0]))
      file.add("split.tensors.count", 2 * count)
      for index in 0..<2 { file.add("t\(part).\(index)", shape: [2], [Float(part), Float(index)]) }
      change(part, &file)
      try file.write(to: "\(folder)/m-0000\(part + 1)-of-0000\(count).gguf")
    }
  }

  @Test func anyPartStandsForAll() throws {
    try withTemporaryFolder { folder in
      try Self.writeParts(3, in: folder)
      for path in [folder, "\(folder)/m-00001-of-00003.gguf", "\(folder)/m-00003-of-00003.gguf"] {
        let model = try GGUFCheckpoint(unmappedAt: path)
        #expect(model.parameters.map(\.name) == ["t0.0", "t0.1", "t1.0", "t1.1", "t2.0", "t2.1"])
        #expect(model.weightFiles.count == 3 && model.metadata.text("general.architecture") == "made-up")
        #expect(try model.parameters[3].recipe.values() == [1, 1])
        #expect(model.folder == (path == folder ? folder : nil))
      }
    }
  }

  @Test func partsThatDoNotFitAreProblems() throws {
    func problem(_ change: (Int, inout TestGGUF) -> Void) throws -> Problem? {
      try withTemporaryFolder { folder in
        try Self.writeParts(2, in: folder, change: change)
        return problems { () throws(Problems) in try GGUFFiles(at: "\(folder)/m-00001-of-00002.gguf") }.first
      }
    }
    #expect(try problem { _, _ in } == nil)
    let wrongNumber = try problem { part, file in if part == 1 { file.entries[0].value = [5, 0] } }
    #expect(wrongNumber?.code == .ggufSplit && wrongNumber?.context.file?.hasSuffix("00002-of-00002.gguf") == true)
    #expect(try problem { part, file in if part == 0 { file.entries[2].value = [9, 0] } }?.code == .ggufSplit)
    #expect(try problem { _, file in file.tensors[0].name = "same" }?.code == .ggufSplit)
    #expect(try problem { part, file in if part == 1 { file.tensors.removeLast() } }?.code == .ggufSplit)
  }

  @Test func aMissingPartIsNamed() throws {
    try withTemporaryFolder { folder in
      try Self.writeParts(2, in: folder)
      try FileSystem.remove("\(folder)/m-00002-of-00002.gguf")
      let found = problems { () throws(Problems) in try GGUFFiles(at: folder) }
      #expect(found.count == 1 && found[0].code == .fileMissing)
      #expect(found[0].context.file?.hasSuffix("m-00002-of-00002.gguf") == true)
    }
  }

  @Test func severalModelsInAFolderAreNotGuessedAmong() throws {
    try withTemporaryFolder { folder in
      for name in ["a", "b"] { try TestGGUF().write(to: "\(folder)/\(name).gguf") }
      let found = problems { () throws(Problems) in try GGUFFiles(at: folder) }
      #expect(found.map(\.code) == [.checkpointFormat] && found[0].message.contains("a.gguf, b.gguf"))
    }
  }

  @Test func namesOfParts() {
    let part = GGUFFiles.part(of: "model-Q4-00002-of-00013.gguf")
    #expect(part?.beginning == "model-Q4" && part?.number == 2 && part?.count == 13)
    for name in ["model.gguf", "m-00003-of-00002.gguf", "m-00000-of-00002.gguf", "m-1-of-2.gguf", "-0001-of-0002.gguf"]
    { #expect(GGUFFiles.part(of: name) == nil, "\(name)") }
  }

  @Test func typesThatCannotBeReadAreNamed() throws {
    var file = TestGGUF()
    file.tensors = [
      ("a", [256, 2], 16, [UInt8](repeating: 0, count: 132)), ("b", [256], 16, [UInt8](repeating: 0, count: 66)),
      ("c", [64], 40, [UInt8](repeating: 0, count: 36)),
    ]
    try withTemporaryFolder { folder in
      try file.write(to: "\(folder)/m.gguf")
      let found = problems { () throws(Problems) in try GGUFCheckpoint(unmappedAt: "\(folder)/m.gguf") }
      #expect(found.map(\.code) == [.ggufType, .ggufType])
      #expect(found[0].message == "the type IQ2_XXS (of 2 tensors) is not supported")
      #expect(found[1].message == "the type NVFP4 (of 1 tensor) is not supported")
    }
  }
}
