import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import TestSupport
import Testing

@testable import EspalierCalibration

@Suite struct ImportanceMatrixTests {
  private let matrix = ImportanceMatrix(
    entries: [
      .init(name: "blk.0.attn_q.weight", width: 3, counts: [8], squareSums: [1, 2, 4]),
      .init(name: "blk.0.ffn_up_exps.weight", width: 2, counts: [4, 0], squareSums: [1, 0.5, 0, 0]),
    ], datasets: ["text.txt"], chunkCount: 2, chunkSize: 512)

  @Test func bothFormsGiveBackWhatTheyHold() throws {
    try withTemporaryFolder { folder in
      try matrix.write(to: "\(folder)/m.gguf")
      #expect(try ImportanceMatrix(at: "\(folder)/m.gguf") == matrix)
      try matrix.write(to: "\(folder)/m.dat")
      let old = try ImportanceMatrix(at: "\(folder)/m.dat")
      // Means times two chunks; the expert that was not hit is 1.
      #expect(old.entries.map(\.squareSums) == [[0.25, 0.5, 1], [0.5, 0.25, 2, 2]])
      #expect(old.entries.map(\.counts) == [[2], [2]])
      #expect(old.datasets == ["text.txt"] && old.chunkCount == 2)
    }
  }

  @Test(arguments: ["llama_gqa_untied", "mixtral"])
  func statisticsGoOutAndIn(name: String) throws {
    let model = Model(name: name)
    let config = try JSON(parsing: try FileSystem.read("\(model.path)/config.json"))
    let mapping = try ImportanceMapping(config: config, families: Architecture.builtIn())
    try withTemporaryFolder { folder in
      _ = try model.calibrate(to: "\(folder)/s")
      let file = try StatisticsFile(at: "\(folder)/s")
      let out = try mapping.matrix(of: file)
      #expect(out.entries.contains { $0.name == "blk.1.attn_output.weight" })
      try out.write(to: "\(folder)/m.gguf")
      let unknown = try mapping.write(
        try ImportanceMatrix(at: "\(folder)/m.gguf"), named: "m.gguf", to: "\(folder)/back")
      #expect(unknown == [])
      let back = try StatisticsFile(at: "\(folder)/back")
      #expect(Set(back.sites).isSuperset(of: file.sites.filter { !$0.hasSuffix("head") }))
      for site in back.sites {
        let (a, b) = (try #require(try file.statistics(of: site)), try #require(try back.statistics(of: site)))
        #expect(a.count == b.count)
        #expect(a.squareSums.map { Double(Float($0)) } == b.squareSums)
        #expect(b.sums.allSatisfy(\.isNaN) && b.moment == nil)
      }
    }
  }

  @Test func otherModelsAreRefused() throws {
    let config = try JSON(parsing: try FileSystem.read("\(Model(name: "llama_gqa_untied").path)/config.json"))
    let mapping = try ImportanceMapping(config: config, families: Architecture.builtIn())
    try withTemporaryFolder { folder in
      #expect(problem { try mapping.write(matrix, named: "m", to: "\(folder)/s") }?.code == .importanceFormat)
      var none = matrix
      none.entries.removeFirst()
      #expect(problem { try mapping.write(none, named: "m", to: "\(folder)/s") }?.code == .importanceFormat)
      #expect(FileSystem.kind("\(folder)/s.partial") == nil)
    }
  }

  @Test func damageIsRefused() throws {
    let legacy = matrix.legacyBytes
    // Without its end the file is whole as far as it goes.
    let end = legacy.count - 8 - "text.txt".utf8.count
    for count in 0..<legacy.count where count != end {
      #expect(problem { try ImportanceMatrix(legacy: Array(legacy[..<count])) } != nil, "\(count) bytes")
    }
    #expect(problem { try ImportanceMatrix(legacy: Array(legacy[..<end])) } == nil)
    try withTemporaryFolder { folder in
      let bytes = try matrix.ggufBytes()
      for count in stride(from: 4, to: bytes.count - 32, by: 13) {
        try FileSystem.write(Array(bytes[..<count]), to: "\(folder)/m.gguf")
        #expect(!problems { try ImportanceMatrix(at: "\(folder)/m.gguf") }.isEmpty, "\(count) bytes")
      }
      var bad = matrix
      bad.entries[0].squareSums[1] = .nan
      try bad.write(to: "\(folder)/nan.gguf")
      #expect(problem { try ImportanceMatrix(at: "\(folder)/nan.gguf") }?.code == .importanceFormat)
    }
  }
}
