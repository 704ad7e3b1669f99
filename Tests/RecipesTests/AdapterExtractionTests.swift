import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierRecipes

/// Fine-tunes as adapters.
@Suite struct AdapterExtractionTests {
  private static let peft = "\(FileSystem.parent(of: FileSystem.parent(of: #filePath)))/CheckpointsTests/Fixtures/peft"

  private func options(_ output: String, rank: Int? = nil, energy: Double? = nil) -> AdapterExtractionOptions {
    var options = AdapterExtractionOptions(output: output)
    (options.rank, options.energy, options.threads) = (rank, energy, 2)
    return options
  }

  @discardableResult
  private func extract(
    _ fineTune: String, from base: String, _ options: AdapterExtractionOptions
  ) throws -> AdapterExtractionReport {
    try AdapterExtraction(of: fineTune, from: base, options: options, families: Architecture.builtIn())
      .run(listener: SilentListener())
  }

  private func values(_ parameter: Parameter) throws -> [Float] {
    let reader = try parameter.recipe.reader(files: FilePool())
    let scratch = UnsafeMutableRawPointer.allocate(
      byteCount: max(64, reader.scratchBytes(for: parameter.elementCount)), alignment: 64)
    defer { scratch.deallocate() }
    var values = [Float](repeating: 0, count: parameter.elementCount)
    try values.withUnsafeMutableBufferPointer { (buffer) throws(Problem) in
      try reader.read(0..<parameter.elementCount, into: buffer.baseAddress!, scratch: scratch)
    }
    return values
  }

  /// ‖fine-tuned - (base + adapter)‖ / ‖fine-tuned - base‖ of a parameter, from the models opened as they are used.
  private func error(_ name: String, fineTune: any Checkpoint, base: any Checkpoint, merged: any Checkpoint) throws
    -> Double
  {
    func find(_ checkpoint: any Checkpoint) throws -> [Float] {
      try values(try #require(checkpoint.parameters.first { $0.name == name }))
    }
    let (f, b, m) = (try find(fineTune), try find(base), try find(merged))
    var (error, whole) = (0.0, 0.0)
    for i in f.indices {
      error += (Double(f[i]) - Double(m[i])) * (Double(f[i]) - Double(m[i]))
      whole += (Double(f[i]) - Double(b[i])) * (Double(f[i]) - Double(b[i]))
    }
    return (error / whole).squareRoot()
  }

  /// A model that LoRA made is given back by an adapter of the same rank: in linear maps stored both ways around.
  @Test(arguments: [
    ("lora_all", "base_llama", 64), ("lora_conv1d_gpt2", "base_gpt2", 64), ("rslora_all", "base_llama", 64),
  ])
  func whatLoRADidIsFoundAgain(_ name: String, _ base: String, _ most: Int) throws {
    try withTemporaryFolder { folder in
      let base = "\(Self.peft)/\(base)"
      let header = try SafetensorsHeader(reading: try File.reading("\(Self.peft)/\(name)/adapter_model.safetensors"))
      let rank = try #require(header.tensors.first { $0.name.hasSuffix("lora_A.weight") }?.shape[0])
      let fineTune = "\(base)+\(Self.peft)/\(name)"
      let report = try extract(fineTune, from: base, options("\(folder)/adapter", rank: rank))
      #expect(report.error < 1e-3 && report.leftCount == 0 && report.energy > 1 - 1e-6, "\(report.error)")
      let modules = header.tensors.count { $0.name.hasSuffix("lora_A.weight") }
      #expect(report.matrixCount == modules && modules < most)

      let opened = try SafetensorsCheckpoint(at: base)
      let merged = try AdaptedCheckpoint(base: opened, adapterAt: "\(folder)/adapter")
      let original = try AdaptedCheckpoint(base: opened, adapterAt: "\(Self.peft)/\(name)")
      for matrix in report.json["matrices"]?.array ?? [] {
        let parameter = try #require(matrix["name"]?.string)
        let found = try error(parameter, fineTune: original, base: opened, merged: merged)
        #expect(found < 1e-3, "\(parameter): \(found)")
      }
      #expect(
        try FileSystem.list("\(folder)/adapter") == [
          "REPORT.md", "adapter_config.json", "adapter_model.safetensors", "espalier-manifest.json", "report.json",
        ])
      #expect(try FileSystem.list(folder) == ["adapter"])
      let outcome = try Verification.verify("\(folder)/adapter", threads: 1, listener: SilentListener())
      #expect(outcome.problems.isEmpty && outcome.tensors == 2 * modules)
    }
  }

  /// A base and a fine-tune of an unknown family: three matrices, an embedding, a norm.
  private func models(_ folder: String) throws {
    var generator = SeededGenerator(seed: 3)
    let shapes = [
      ("embed.weight", [12, 8]), ("blocks.0.up.weight", [16, 8]), ("blocks.0.down.weight", [8, 16]),
      ("blocks.1.up.weight", [16, 8]), ("norm.weight", [8]),
    ]
    for name in ["base", "tuned"] {
      try FileSystem.createFolder("\(folder)/\(name)")
      let tensors = shapes.map { name, shape in
        TestTensor(name, shape, generator.floats(shape.reduce(1, *)))
      }
      try TestTensor.write(tensors, to: "\(folder)/\(name)/model.safetensors")
    }
  }

  @Test(arguments: [ElementType.f32, .bf16])
  func theReportedErrorsAreThoseOfTheMergedModel(type: ElementType) throws {
    try withTemporaryFolder { folder in
      try models(folder)
      var options = options("\(folder)/adapter", rank: 3)
      options.elementType = type
      let report = try extract("\(folder)/tuned", from: "\(folder)/base", options)
      #expect(report.matrixCount == 3 && report.leftCount == 2)
      let base = try SafetensorsCheckpoint(at: "\(folder)/base")
      let tuned = try SafetensorsCheckpoint(at: "\(folder)/tuned")

      // Written out, as `convert base+adapter` does.
      var merging = MergeOptions(output: "\(folder)/merged")
      merging.threads = 2
      let plan = try Conversion.plan(
        of: "\(folder)/base+\(folder)/adapter", elementType: .f32, options: merging)
      _ = try Conversion.run(plan, listener: SilentListener())
      let merged = try SafetensorsCheckpoint(at: "\(folder)/merged")
      let record = try JSON(parsing: try FileSystem.read("\(folder)/adapter/report.json"))
      let matrices = try #require(record["matrices"]?.array)
      for matrix in matrices {
        let name = try #require(matrix["name"]?.string)
        let (found, reported) = (
          try error(name, fineTune: tuned, base: base, merged: merged), try #require(matrix["error"]?.number)
        )
        #expect(abs(found - reported) < 1e-5 && reported > 0.3, "\(name): \(found), reported \(reported)")
        #expect(try #require(matrix["floor"]?.number) <= reported * (1 + 1e-6) && matrix["rank"] == 3)
      }
      #expect(record["uncaptured"]?.array?.compactMap { $0["name"]?.string } == ["embed.weight", "norm.weight"])
      #expect(record["uncaptured"]?.array?.compactMap { $0["reason"]?.string } == ["an embedding", "a vector"])
      #expect(report.errorOfAll > report.error)
      let text = String(decoding: try FileSystem.read("\(folder)/adapter/REPORT.md"), as: UTF8.self)
      #expect(text.contains("| blocks.0.up.weight | 16 x 8 | 3 |") && text.contains("| norm.weight | a vector |"))
    }
  }

  @Test func ranksThatDifferAreInPatterns() throws {
    try withTemporaryFolder { folder in
      try models(folder)
      try extract("\(folder)/tuned", from: "\(folder)/base", options("\(folder)/adapter", energy: 0.8))
      let record = try JSON(parsing: try FileSystem.read("\(folder)/adapter/report.json"))
      let matrices = try #require(record["matrices"]?.array)
      let ranks = matrices.compactMap { $0["rank"]?.integer }
      #expect(ranks.allSatisfy { (1...8).contains($0) })
      for matrix in matrices { #expect(try #require(matrix["energy_kept"]?.number) >= 0.8 - 1e-6) }
      let config = try JSON(parsing: try FileSystem.read("\(folder)/adapter/adapter_config.json"))
      let usual = try #require(config["r"]?.integer)
      for matrix in matrices {
        let module = try #require(matrix["module"]?.string)
        let rank = matrix["rank"]?.integer
        #expect((config["rank_pattern"]?[module]?.integer ?? usual) == rank)
        #expect(config["alpha_pattern"]?[module] == config["rank_pattern"]?[module])
      }
      // Our own reader, which checks ranks against the configuration, opens it.
      _ = try AdaptedCheckpoint(
        base: try SafetensorsCheckpoint(at: "\(folder)/base"), adapterAt: "\(folder)/adapter")

      // With both, the smaller rank; what is kept is that of the rank.
      var both = options("\(folder)/adapter", rank: 2, energy: 0.8)
      both.force = true
      let cut = try extract("\(folder)/tuned", from: "\(folder)/base", both)
      let alone = try extract("\(folder)/tuned", from: "\(folder)/base", options("\(folder)/alone", rank: 2))
      #expect(abs(cut.error - alone.error) < 1e-6 && cut.error > 0)
    }
  }

  @Test func targetsChooseModules() throws {
    try withTemporaryFolder { folder in
      try models(folder)
      var options = options("\(folder)/adapter", rank: 2)
      options.targets = ["blocks\\.0\\..*"]
      let report = try extract("\(folder)/tuned", from: "\(folder)/base", options)
      #expect(report.matrixCount == 2 && report.leftCount == 3)
      let config = try JSON(parsing: try FileSystem.read("\(folder)/adapter/adapter_config.json"))
      // Another `up` is not taken, so that module is named in full.
      #expect(config["target_modules"] == ["down", "blocks.0.up"])
      (options.targets, options.force) = (["up"], true)
      #expect(try extract("\(folder)/tuned", from: "\(folder)/base", options).matrixCount == 2)
      options.targets = ["sideways"]
      let none = problems { try extract("\(folder)/tuned", from: "\(folder)/base", options) }
      #expect(none.map(\.code) == [.usageTarget])
      options.targets = ["up("]
      #expect(problems { try extract("\(folder)/tuned", from: "\(folder)/base", options) }.first?.code == .usageTarget)
    }
  }

  @Test func whatCannotBeIsSaid() throws {
    try withTemporaryFolder { folder in
      try models(folder)
      let (tuned, base) = ("\(folder)/tuned", "\(folder)/base")
      let equal = problems { try extract(base, from: base, options("\(folder)/adapter", rank: 2)) }
      #expect(equal.map(\.code) == [.adapterNothing] && equal[0].remedy == "The models are equal.")
      var tight = options("\(folder)/adapter", rank: 2)
      tight.memory = 64 << 20
      #expect(problems { try extract(tuned, from: base, tight) }.map(\.code) == [.memoryCeiling])
      #expect(
        problems { try extract(tuned, from: base, options(tuned, rank: 2)) }.contains {
          $0.code.rawValue == "output.input"
        })
      try extract(tuned, from: base, options("\(folder)/adapter", rank: 2))
      let there = try FileSystem.read("\(folder)/adapter/report.json")
      #expect(
        problems { try extract(tuned, from: base, options("\(folder)/adapter", rank: 3)) }.map(\.code) == [
          .outputExists
        ])
      #expect(try FileSystem.read("\(folder)/adapter/report.json") == there)
      var tensor = TestTensor("blocks.0.up.weight", [16, 8], [Float](repeating: 1, count: 128))
      tensor.values[7] = .infinity
      try FileSystem.createFolder("\(folder)/damaged")
      try TestTensor.write([tensor], to: "\(folder)/damaged/model.safetensors")
      let damaged = problems { try extract("\(folder)/damaged", from: base, options("\(folder)/other", rank: 2)) }
      #expect(damaged.first?.context.tensor == "blocks.0.up.weight")
      #expect(FileSystem.kind("\(folder)/other") == nil && FileSystem.kind("\(folder)/other.partial") == nil)
    }
  }

  @Test func theFolderDoesNotDependOnThreads() throws {
    try withTemporaryFolder { folder in
      try models(folder)
      for (name, threads) in [("one", 1), ("two", 2)] {
        try FileSystem.createFolder("\(folder)/\(name)")
        var options = options("\(folder)/\(name)/adapter", rank: 3)
        options.threads = threads
        try extract("\(folder)/tuned", from: "\(folder)/base", options)
      }
      for name in try FileSystem.list("\(folder)/one/adapter") {
        let same =
          try FileSystem.read("\(folder)/one/adapter/\(name)") == FileSystem.read("\(folder)/two/adapter/\(name)")
        #expect(same, "\(name)")
      }
    }
  }

  /// What a randomized decomposition gives is nearly the nearest, and its error is measured.
  @Test func manyDirectionsNeedNotAllBeFound() throws {
    var generator = SeededGenerator(seed: 11)
    var delta = try Matrix<Float>(rows: 60, columns: 80, elements: generator.floats(4800, scale: 0.05))
    for term in 0..<5 {
      let (u, v) = (generator.floats(60), generator.floats(80))
      for i in 0..<60 { for j in 0..<80 { delta[i, j] += u[i] * v[j] / Float(term + 1) } }
    }
    let options = options("nowhere", rank: 4)
    func factors(_ exactSide: Int) throws -> AdapterFactors {
      try AdapterFactors(
        of: delta, name: "w", options: options, exactSide: exactSide, parallel: MatrixProduct.serially)
    }
    let (exact, random) = (try factors(1000), try factors(10))
    #expect(random.a.rows == 4 && random.b.columns == 4 && random.certificate.floor == nil)
    let floor = try #require(exact.certificate.floor)
    #expect(random.certificate.error >= floor * (1 - 1e-6) && random.certificate.error < floor * 1.001)
  }
}
