import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierCalibration
@testable import EspalierCheckpoints

@Suite struct StatisticsFileTests {
  private let model = Model(name: "llama_gqa_untied")

  @Test func otherModelsAreRefusedByName() throws {
    try withTemporaryFolder { folder in
      _ = try model.calibrate(to: "\(folder)/s")
      let file = try StatisticsFile(at: "\(folder)/s")
      #expect(file.record == model.record())
      var identity = try #require(model.record().model)
      try file.require(identity)
      identity.weights = Digest(of: "others")
      let refused = problem { try file.require(identity) }
      #expect(refused?.code == .statisticsMismatch)
      #expect(refused?.message.contains("weights (") == true && refused?.message.contains("config (") == false)
    }
  }

  @Test func identityIsOfBytesAndNotOfPlaces() throws {
    try withTemporaryFolder { folder in
      try FileSystem.createFolder("\(folder)/copy")
      for name in ["config.json", "model.safetensors"] {
        try FileSystem.write(try FileSystem.read("\(model.path)/\(name)"), to: "\(folder)/copy/\(name)")
      }
      func identity(_ path: String) throws -> ModelIdentity {
        try ModelIdentity(of: try SafetensorsCheckpoint(at: path), workers: Model.workers)
      }
      let own = try identity(model.path)
      #expect(try identity("\(folder)/copy") == own)
      let size = try File.reading("\(folder)/copy/model.safetensors").size()
      try flip("\(folder)/copy/model.safetensors", at: size - 1)
      let other = try identity("\(folder)/copy")
      #expect(other.weights != own.weights && other.config == own.config)
    }
  }

  @Test func halvesAddUp() throws {
    let sequences = Model.sequences(10)
    try withTemporaryFolder { folder in
      _ = try model.calibrate(sequences, to: "\(folder)/whole")
      _ = try model.calibrate(Array(sequences[..<6]), to: "\(folder)/a")
      _ = try model.calibrate(Array(sequences[6...]), to: "\(folder)/b")
      try StatisticsFile(at: "\(folder)/a").adding(try StatisticsFile(at: "\(folder)/b"), to: "\(folder)/sum")
      let (whole, sum) = (try StatisticsFile(at: "\(folder)/whole"), try StatisticsFile(at: "\(folder)/sum"))
      #expect(sum.sites == whole.sites)
      for site in whole.sites {
        let (a, b) = (try #require(try whole.statistics(of: site)), try #require(try sum.statistics(of: site)))
        #expect(a.distance(to: b) < 1e-6, "\(site)")
      }
      for (a, b) in zip(whole.blocks, sum.blocks) {
        #expect(a.rows == b.rows && abs((a.similarity ?? 0) - (b.similarity ?? 0)) < 1e-12)
      }
      _ = try model.calibrate(to: "\(folder)/narrow", momentLimit: 8)
      let refused = problem {
        try StatisticsFile(at: "\(folder)/a").adding(try StatisticsFile(at: "\(folder)/narrow"), to: "\(folder)/no")
      }
      #expect(refused?.code == .statisticsMismatch)
      #expect(refused?.message.contains("the limit of second moments") == true)
    }
  }

  @Test func squaresAlongTheDiagonalAreReadBack() throws {
    try withTemporaryFolder { folder in
      _ = try model.calibrate(to: "\(folder)/whole")
      _ = try model.calibrate(to: "\(folder)/s", momentLimit: 20)
      _ = try model.calibrate(to: "\(folder)/none", momentLimit: 0)
      let (whole, file) = (try StatisticsFile(at: "\(folder)/whole"), try StatisticsFile(at: "\(folder)/s"))
      for site in file.layout.sites {
        guard case .full(let moment)? = try whole.statistics(of: site.name)?.moment else { continue }
        switch try file.statistics(of: site.name)?.moment {
        case .full(let own)?: #expect(own == moment)
        case .blocks(let blocks)?:
          for (range, block) in zip(site.moment.blocks, blocks) {
            #expect(block.rows == range.count && range.count <= 20)
            for i in range {
              for j in range { #expect(block[i - range.lowerBound, j - range.lowerBound] == moment[i, j]) }
            }
          }
        default: Issue.record("\(site.name) has no moment")
        }
      }
      let none = try StatisticsFile(at: "\(folder)/none")
      #expect(try none.sites.allSatisfy { try none.statistics(of: $0)?.moment == nil })
    }
  }

  @Test func damageIsRefused() throws {
    try withTemporaryFolder { folder in
      _ = try model.calibrate(to: "\(folder)/s", momentLimit: 0)
      let whole = try FileSystem.read("\(folder)/s")
      for count in [0, 7, 100, whole.count / 2, whole.count - 1] {
        try FileSystem.write(Array(whole[..<count]), to: "\(folder)/cut")
        #expect(problem { try StatisticsFile(at: "\(folder)/cut") } != nil, "\(count) bytes")
      }
      // A file of other tensors, and tensors of other shapes.
      try TestTensor.write([TestTensor("a", [1], [1])], to: "\(folder)/other")
      #expect(problem { try StatisticsFile(at: "\(folder)/other") }?.code == .statisticsFormat)
      let record = model.record(0)
      func refusal(_ tensors: [(String, ElementType, [Int])]) throws -> Problem.Code? {
        var bytes = SafetensorsHeader.bytes(
          for: tensors.map { (name: $0.0, elementType: $0.1, shape: $0.2) },
          metadata: record.metadata + [("blocks", "[]")])
        for (_, type, shape) in tensors {
          bytes += [UInt8](repeating: 0, count: type.byteWidth * shape.reduce(1, *))
        }
        try FileSystem.write(bytes, to: "\(folder)/made")
        return problem { try StatisticsFile(at: "\(folder)/made") }?.code
      }
      let end: [(String, ElementType, [Int])] = [("blocks.similarity", .f64, [0, 2]), ("blocks.finished", .f64, [0])]
      let site: [(String, ElementType, [Int])] = [
        ("s.count", .f64, [1]), ("s.sum", .f64, [3]), ("s.square_sum", .f64, [3]), ("s.absolute_sum", .f64, [3]),
      ]
      #expect(try refusal(site + end) == nil)
      for place in [0, 1, 2, 3] {
        var damaged = site
        damaged.remove(at: place)
        #expect(try refusal(damaged + end) == .statisticsFormat, "without \(site[place].0)")
        damaged = site
        damaged[place].1 = .f32
        #expect(try refusal(damaged + end) == .statisticsFormat, "\(site[place].0) in float32")
      }
      #expect(try refusal(site + [("s.moment", .f64, [3, 2])] + end) == .statisticsFormat)
      #expect(try refusal(site + [("s.moment.0", .f64, [2, 2])] + end) == .statisticsFormat)
      #expect(try refusal(site + [("t", .f64, [2, 2])] + end) == .statisticsFormat)
      #expect(try refusal(site) == .statisticsFormat)
    }
  }

  @Test func othersFilesStay() throws {
    try withTemporaryFolder { folder in
      try FileSystem.write(Array("mine".utf8), to: "\(folder)/s")
      #expect(StatisticsWriter.obstacle(at: "\(folder)/s", resume: false, force: true)?.code == .statisticsExist)
      #expect(StatisticsWriter.obstacle(at: "\(folder)/t", resume: false, force: false) == nil)
    }
  }
}
