import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import EspalierRecipes
import EspalierReduction
import TestSupport
import Testing

/// What a trial reads, measures and writes.
@Suite struct TrialTests {
  /// A weight `[6, 8]` and correlated inputs `[40, 8]` around a mean, in one file.
  struct Bench {
    var folder: String
    var weight: [Float]
    var inputs: [Float]
    var path: String { "\(folder)/bench.safetensors" }
    var output: String { "\(folder)/out.safetensors" }

    static let (outputs, width, rows) = (6, 8, 40)

    init(_ folder: String, type: ElementType = .f32) throws {
      self.folder = folder
      var generator = SeededGenerator(seed: 7)
      let rounded = TestTensor("", [Self.outputs * Self.width], generator.floats(Self.outputs * Self.width), type)
      weight = rounded.values
      inputs = generator.floats(Self.rows * Self.width)
      for index in inputs.indices {
        inputs[index] = 0.5 + inputs[index] + (index % Self.width > 0 ? 0.7 * inputs[index - 1] : 0)
      }
      try TestTensor.write(
        [
          TestTensor("w", [Self.outputs, Self.width], weight, type), TestTensor("x", [4, 10, Self.width], inputs),
          TestTensor("count", [1], bytes: [UInt8](repeating: 0, count: 8), .i64),
        ], to: path)
    }

    func trial(
      _ method: String, _ budget: MatrixBudget, _ parameters: [String: ParameterValue] = [:]
    ) -> Trial {
      var trial = Trial(
        method: method, parameters: parameters, budget: budget, weight: FilePart("\(path):w"),
        source: .inputs(FilePart("\(path):x")))
      (trial.output, trial.threads) = (output, 2)
      return trial
    }

    func run(_ trial: Trial) throws -> JSON {
      try trial.run(families: Architecture.builtIn(), listener: SilentListener()).json
    }

    /// ‖X (W - W')ᵀ - 1 shiftᵀ‖ / ‖X Wᵀ‖, from the rows themselves.
    func error(of changed: [Float], shift: [Float]? = nil) -> Double {
      var (error, whole) = (0.0, 0.0)
      for row in 0..<Self.rows {
        for o in 0..<Self.outputs {
          var (y, d) = (0.0, -Double(shift?[o] ?? 0))
          for j in 0..<Self.width {
            let (x, w) = (Double(inputs[row * Self.width + j]), Double(weight[o * Self.width + j]))
            y += w * x
            d += (w - Double(changed[o * Self.width + j])) * x
          }
          error += d * d
          whole += y * y
        }
      }
      return (error / whole).squareRoot()
    }
  }

  private func values(_ name: String, in path: String) throws -> [Float] {
    let parameter = try #require(try SafetensorsCheckpoint(at: path).parameters.first { $0.name == name })
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

  private func near(_ a: Double, _ b: Double, _ tolerance: Double = 1e-5) -> Bool { abs(a - b) <= tolerance * b }

  private static let trials: [(String, MatrixBudget, [String: ParameterValue])] = [
    ("magnitude", .sparsity(0.5), [:]), ("wanda", .sparsity(0.5), [:]), ("wanda", .pattern(keep: 2, of: 4), [:]),
    ("sparsegpt", .pattern(keep: 2, of: 4), [:]), ("obc", .sparsity(0.5), [:]), ("net_trim", .sparsity(0.3), [:]),
    ("svd", .rank(2), [:]), ("asvd", .rank(2), [:]), ("awsvd", .rank(2), [:]), ("whitened-svd", .parameters(0.7), [:]),
    ("feature-pca", .rank(2), [:]), ("feature-pca", .rank(2), ["center": .flag(true)]), ("cur", .rank(3), [:]),
    ("interpolative", .rank(3), [:]),
  ]
  private static let codes: [(String, MatrixBudget, [String: ParameterValue])] = [
    ("rtn", .sparsity(0), [:]), ("gptq", .sparsity(0), ["bits": .number(3)]), ("gptq", .pattern(keep: 2, of: 4), [:]),
    ("awq", .sparsity(0), [:]), ("smooth", .sparsity(0), [:]), ("fp8", .sparsity(0), [:]),
    ("ternary", .sparsity(0), [:]), ("obq", .sparsity(0.5), [:]),
  ]

  /// The printed error is that of the file's numbers on the inputs, in every type and both ways of storing.
  @Test(arguments: [ElementType.f32, .bf16], [Trial.Store.dense, .reduced])
  func theErrorIsThatOfTheOutput(type: ElementType, store: Trial.Store) throws {
    try withTemporaryFolder { folder in
      let bench = try Bench(folder, type: type)
      #expect(Set((Self.trials + Self.codes).map(\.0)) == Set(ReductionMethods.all.map { $0.card.name }))
      for (method, budget, parameters) in Self.trials {
        var trial = bench.trial(method, budget, parameters)
        (trial.store, trial.replacesOutput) = (store, true)
        let json = try bench.run(trial)
        let written = try values("w", in: bench.output)
        let shift = parameters["center"] == nil ? nil : try values("w.output_shift", in: bench.output)
        let error = try #require(json["error_after"]?.number)
        let found = bench.error(of: written, shift: shift)
        // Factors of float32 are multiplied anew when they are read.
        #expect(near(error, found, 1e-4), "\(method) \(budget): printed \(error), file \(found)")
        #expect(try #require(json["error_before"]?.number) > 0)
        #expect((json["after"]?["error_unrounded"] == nil) == (type == .f32))
        let parameter = try #require(try SafetensorsCheckpoint(at: bench.output).parameters.first { $0.name == "w" })
        #expect(parameter.elementType == type && parameter.shape == [6, 8])
        #expect((parameter.reducedForm != nil) == (store == .reduced))
        if let form = parameter.reducedForm {
          let bytes = form.parts.reduce(0) { $0 + $1.byteCount } + (shift?.count ?? 0) * 4
          #expect(json["after"]?["bytes"]?.integer == bytes)
        }
      }
    }
  }

  /// Codes are stored as the values that they stand for; beside them stands plain rounding to as many bits.
  @Test(arguments: [ElementType.f32, .bf16]) func codesAreStoredAsTheirValues(type: ElementType) throws {
    try withTemporaryFolder { folder in
      let bench = try Bench(folder, type: type)
      for (method, budget, parameters) in Self.codes {
        var trial = bench.trial(method, budget, parameters)
        trial.replacesOutput = true
        let json = try bench.run(trial)
        let error = try #require(json["error_after"]?.number)
        #expect(near(error, bench.error(of: try values("w", in: bench.output)), 1e-4), "\(method) \(budget)")
        #expect(json["after"]?["form"] == "codes" && json["before"]?["method"] == "rtn")
        #expect((json["after"]?["error_unrounded"] == nil) == (type == .f32))
        let bytes = try #require(json["after"]?["bytes"]?.integer)
        #expect(bytes < Bench.outputs * Bench.width * type.byteWidth)
        trial.store = .reduced
        #expect(throws: Problems.self) { try bench.run(trial) }
      }
    }
  }

  @Test func factorsLieBesideTheDenseWeight() throws {
    try withTemporaryFolder { folder in
      let bench = try Bench(folder)
      _ = try bench.run(bench.trial("cur", .rank(2)))
      let checkpoint = try SafetensorsCheckpoint(at: bench.output)
      #expect(
        checkpoint.parameters.map(\.name) == [
          "w", "w.column_indices", "w.columns", "w.link", "w.row_indices", "w.rows",
        ])
      let record = try JSON(
        parsing: Array(try #require(checkpoint.metadata.first { $0.key == "espalier.trial" }).value.utf8))
      #expect(record["method"] == "cur" && record["budget"]?["rank"] == 2)
      let columns = try values("w.columns", in: bench.output)
      let indices = try #require(checkpoint.parameters.first { $0.name == "w.column_indices" })
      let stored = try #require(indices.recipe.storedTensors.first)
      let bytes = try File.reading(stored.file).read(stored.byteCount, at: stored.offset)
      for (place, index) in bytes.withUnsafeBytes({ Array($0.bindMemory(to: Int64.self)) }).enumerated() {
        for row in 0..<6 { #expect(columns[2 * row + place] == bench.weight[8 * row + Int(index)]) }
      }
    }
  }

  @Test func statisticsOfAFileAreAsGoodAsTheInputs() throws {
    try withTemporaryFolder { folder in
      let bench = try Bench(folder)
      let sums = try SiteAccumulator(width: 8, momentLimit: 8)
      try bench.inputs.withUnsafeBufferPointer { rows in try sums.add(MatrixView(rows, rows: 40, columns: 8)) }
      let record = StatisticsRecord(
        model: nil, tokenizer: nil, texts: [], tokens: Digest(of: "t"), cut: "none", mode: "exact", momentLimit: 8)
      let layout = StatisticsLayout(
        record: record, sites: [.init(name: "site", width: 8, moment: MomentShape(width: 8, limit: 8))], blocks: [])
      let path = "\(folder)/statistics.safetensors"
      let writer = try StatisticsWriter(layout, to: path)
      try writer.write(try sums.finish(), of: "site")
      try writer.finish()
      var trial = bench.trial("sparsegpt", .sparsity(0.5))
      let inputs = try bench.run(trial)
      (trial.source, trial.replacesOutput) = (.statistics(FilePart("\(path):site")), true)
      let statistics = try bench.run(trial)
      #expect(statistics["error_after"] == inputs["error_after"])
      trial.source = .statistics(FilePart("\(path):sit"))
      let found = problems { try bench.run(trial) }
      #expect(found.first?.code == .usageTensor && found.first?.remedy == "Did you mean site?")
    }
  }

  @Test func aWeightMayBeStoredTransposedOrInGGUF() throws {
    try withTemporaryFolder { folder in
      let bench = try Bench(folder)
      let straight = try bench.run(bench.trial("wanda", .sparsity(0.5)))
      let written = try values("w", in: bench.output)

      var turned = [Float](repeating: 0, count: 48)
      for i in 0..<6 { for j in 0..<8 { turned[6 * j + i] = bench.weight[8 * i + j] } }
      let path = "\(folder)/turned.safetensors"
      try TestTensor.write([TestTensor("w", [8, 6], turned)], to: path)
      var trial = bench.trial("wanda", .sparsity(0.5))
      (trial.weight, trial.replacesOutput) = (FilePart(path), true)
      let misfit = problems { try bench.run(trial) }
      #expect(misfit.first?.remedy?.contains("--transposed") == true)
      trial.isTransposed = true
      #expect(try bench.run(trial)["error_after"] == straight["error_after"])
      #expect(try values("w", in: bench.output) == written)

      var gguf = TestGGUF()
      gguf.add("general.architecture", "made-up")
      gguf.add("blk.0.w", shape: [6, 8], bench.weight)
      try gguf.write(to: "\(folder)/m.gguf")
      (trial.weight, trial.isTransposed) = (FilePart("\(folder)/m.gguf:blk.0.w"), false)
      #expect(try bench.run(trial)["error_after"] == straight["error_after"])
      #expect(try values("blk.0.w", in: bench.output) == written)
    }
  }

  @Test func damageIsNamed() throws {
    try withTemporaryFolder { folder in
      let bench = try Bench(folder)
      var trial = bench.trial("wanda", .sparsity(0.5))
      var inputs = bench.inputs
      inputs[5] = .nan
      try TestTensor.write([TestTensor("x", [40, 8], inputs)], to: "\(folder)/x.safetensors")
      trial.source = .inputs(FilePart("\(folder)/x.safetensors"))
      let nan = problems { try bench.run(trial) }
      #expect(nan.first?.code == .nonFiniteMatrix && nan.first?.context.tensor == "x")
      trial.source = .inputs(FilePart("\(bench.path):count"))
      #expect(problems { try bench.run(trial) }.first?.code == .usageTensor)
      trial = bench.trial("wanda", .sparsity(0.5))
      trial.memory = 1 << 20
      #expect(problems { try bench.run(trial) }.first?.code == .memoryCeiling)
      #expect(FileSystem.kind(bench.output) == nil)
    }
  }

  @Test func partsOfFilesAreToldByTheLastColon() throws {
    try withTemporaryFolder { folder in
      #expect(FilePart("a/b.safetensors:x.y") == FilePart("a/b.safetensors:x.y"))
      #expect(FilePart("a:b:c").file == "a:b" && FilePart("a:b:c").name == "c")
      #expect(FilePart("a.safetensors").name == nil && FilePart("a.safetensors:").name == nil)
      try FileSystem.write([], to: "\(folder)/a:b")
      #expect(FilePart("\(folder)/a:b").file == "\(folder)/a:b" && FilePart("\(folder)/a:b").name == nil)
    }
  }
}
