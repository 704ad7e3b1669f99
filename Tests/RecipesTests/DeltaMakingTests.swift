import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierRecipes

/// A base and fine-tunes of it, of random values.
struct DeltaModels {
  static let shapes: [(name: String, shape: [Int])] = [
    ("a.weight", [40, 60]), ("b.weight", [48, 50]), ("norm.weight", [40]),
  ]

  /// Writes `folder/base` and `folder/ft0`, ... with changes a tenth as large as the weights.
  static func write(to folder: String, count: Int = 1, type: ElementType = .bf16, seed: UInt64 = 1) throws {
    var generator = SeededGenerator(seed: seed)
    let base = shapes.map { TestTensor($0.name, $0.shape, generator.floats($0.shape.reduce(1, *)), type) }
    try write(base, to: "\(folder)/base")
    for index in 0..<count {
      let tuned = base.map { tensor in
        var tensor = tensor
        tensor.values = zip(tensor.values, generator.floats(tensor.values.count, scale: 0.1)).map { $0 + $1 }
        return tensor
      }
      try write(tuned, to: "\(folder)/ft\(index)")
    }
  }

  static func write(_ tensors: [TestTensor], to folder: String) throws {
    try FileSystem.createFolder(folder)
    try FileSystem.write(Array("{\"model_type\": \"strange\"}".utf8), to: "\(folder)/config.json")
    try TestTensor.write(tensors, to: "\(folder)/model.safetensors")
  }

  @discardableResult
  static func make(
    _ folder: String, _ fineTune: String = "ft0", to name: String = "d",
    _ change: (inout DeltaOptions) -> Void = { _ in }
  ) throws -> DeltaReport {
    var options = DeltaOptions(output: "\(folder)/\(name).safetensors")
    (options.threads, options.policy.force) = (2, true)
    change(&options)
    return try DeltaMaking(
      of: "\(folder)/\(fineTune)", from: "\(folder)/base", options: options, families: Architecture.builtIn()
    ).run(listener: SilentListener())
  }

  /// Every value of a model as it is named.
  static func values(_ model: String) throws -> [String: [Float]] {
    let checkpoint = try ModelLocator(recipeFolder: ".").open(ModelReference(parsing: model, line: 0))
    var found: [String: [Float]] = [:]
    for parameter in checkpoint.parameters {
      let reader = try parameter.recipe.reader(files: FilePool())
      let scratch = try AlignedBuffer(byteCount: max(64, reader.scratchBytes(for: parameter.elementCount)))
      var values = [Float](repeating: 0, count: parameter.elementCount)
      try values.withUnsafeMutableBufferPointer { buffer in
        try reader.read(0..<buffer.count, into: buffer.baseAddress!, scratch: scratch.address)
      }
      found[parameter.name] = values
    }
    return found
  }

  /// The change of a tensor, in float32.
  static func change(_ folder: String, _ name: String, of model: String = "ft0") throws -> [Float] {
    let (base, tuned) = (try values("\(folder)/base"), try values("\(folder)/\(model)"))
    return zip(try #require(tuned[name]), try #require(base[name])).map { $0 - $1 }
  }
}

@Suite struct DeltaMakingTests {
  @Test func signsOfTheLargestAreKept() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      let report = try DeltaModels.make(folder) { $0.density = 0.25 }
      let change = try DeltaModels.change(folder, "a.weight")
      // The 600 largest of 2,400, equal ones by their place.
      let order = change.indices.sorted {
        abs(change[$0]) == abs(change[$1]) ? $0 < $1 : abs(change[$0]) > abs(change[$1])
      }
      let kept = Set(order.prefix(600))
      let mean = kept.reduce(0.0) { $0 + Double(abs(change[$1])) } / 600
      let tensor = try #require(try DeltaFile(at: "\(folder)/d.safetensors").tensors.first { $0.name == "a.weight" })
      #expect(abs(tensor.scale - mean) < 1e-6 * mean)
      let (base, coded) = (
        try #require(try DeltaModels.values("\(folder)/base")["a.weight"]),
        try #require(try DeltaModels.values("\(folder)/base+\(folder)/d.safetensors")["a.weight"])
      )
      for i in change.indices {
        let sign: Float = kept.contains(i) ? (change[i] > 0 ? 1 : -1) : 0
        #expect(coded[i] == base[i] + Float(tensor.scale) * sign)
      }
      let json = report.json["tensors"]?.array?.first { $0["name"] == "a.weight" }
      let squares = change.reduce(0.0) { $0 + Double($1) * Double($1) }
      let error = zip(change.indices, change).reduce(0.0) { sum, entry in
        let coded = kept.contains(entry.0) ? Double(tensor.scale) * (entry.1 > 0 ? 1 : -1) : 0
        return sum + (Double(entry.1) - coded) * (Double(entry.1) - coded)
      }
      #expect(abs((json?["error"]?.number ?? 0) - (error / squares).squareRoot()) < 1e-6)
      #expect(json?["kept"]?.integer == 600)
    }
  }

  /// The paper's rule: alpha standard deviations of the change.
  @Test func scalesAreStandardDeviations() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      try DeltaModels.make(folder) { ($0.density, $0.alpha) = (0.1, 2) }
      let change = try DeltaModels.change(folder, "b.weight").map { Double($0) }
      let mean = change.reduce(0, +) / Double(change.count)
      let variance = change.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(change.count)
      let tensor = try #require(try DeltaFile(at: "\(folder)/d.safetensors").tensors.first { $0.name == "b.weight" })
      #expect(abs(tensor.scale - 2 * variance.squareRoot()) < 1e-6 * tensor.scale)
    }
  }

  /// Over seeds the mean of `v . d / d . d` is 1 within five standard errors; with q = 1 it is the density.
  @Test func droppingAtRandomIsUnbiased() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      let change = try DeltaModels.change(folder, "a.weight").map { Double($0) }
      let base = try #require(try DeltaModels.values("\(folder)/base")["a.weight"]).map { Double($0) }
      let (squares, fourths) = change.reduce(into: (0.0, 0.0)) { sums, d in
        sums.0 += d * d
        sums.1 += d * d * d * d
      }
      let (seeds, density) = (40, 0.1)
      var (mean, damped) = (0.0, 0.0)
      for seed in 0..<seeds {
        for method in [DeltaMethod.dare, .darex] {
          try DeltaModels.make(folder) { ($0.method, $0.density, $0.seed) = (method, density, UInt64(seed)) }
          let coded = try #require(try DeltaModels.values("\(folder)/base+\(folder)/d.safetensors")["a.weight"])
          let share = zip(zip(coded, base), change).reduce(0.0) { $0 + (Double($1.0.0) - $1.0.1) * $1.1 } / squares
          if method == .dare { mean += share / Double(seeds) } else { damped += share / Double(seeds) }
        }
      }
      let deviation = ((1 - density) / density * fourths).squareRoot() / squares / Double(seeds).squareRoot()
      #expect(abs(mean - 1) < 5 * deviation + 1e-4, "\(mean)")
      #expect(abs(damped - density) < 5 * density * deviation + 1e-4, "\(damped)")
    }
  }

  /// Every entry kept as float32 is the fine-tune itself.
  @Test func everythingKeptIsTheFineTune() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      let report = try DeltaModels.make(folder) {
        ($0.method, $0.density, $0.values) = (.topk, 1, .f32)
      }
      #expect(report.error == 0)
      let (tuned, coded) = (
        try DeltaModels.values("\(folder)/ft0"), try DeltaModels.values("\(folder)/base+\(folder)/d.safetensors")
      )
      for (name, values) in tuned {
        let off = zip(values, try #require(coded[name])).map { abs($0 - $1) }.max() ?? 1
        #expect(off < 1e-7, "\(name)")
      }
    }
  }

  @Test(arguments: [DeltaMethod.ternary, .topk, .dare, .darex, .lowrank, .int8, .auto])
  func aModelWithItsDeltaIsWhatIsWritten(method: DeltaMethod) throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      let report = try DeltaModels.make(folder) {
        $0.method = method
        if method == .lowrank { $0.rank = 5 }
      }
      #expect(report.error > 0 && report.error < (method == .dare ? 4 : 1))
      var options = MergeOptions(output: "\(folder)/out")
      options.threads = 2
      let name = "\(folder)/base+\(folder)/d.safetensors"
      _ = try Conversion.run(
        try Conversion.plan(of: name, elementType: .f32, options: options), listener: SilentListener())
      #expect(try DeltaModels.values(name) == DeltaModels.values("\(folder)/out"))
    }
  }

  /// Errors of low rank and of eight bits, measured again.
  @Test(arguments: [DeltaMethod.lowrank, .int8, .topk, .dare])
  func reportedErrorsAreThose(method: DeltaMethod) throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder, type: .f32)
      let report = try DeltaModels.make(folder) {
        $0.method = method
        if method == .lowrank { $0.energy = 0.8 }
      }
      let (base, tuned, coded) = (
        try DeltaModels.values("\(folder)/base"), try DeltaModels.values("\(folder)/ft0"),
        try DeltaModels.values("\(folder)/base+\(folder)/d.safetensors")
      )
      var (error, whole) = (0.0, 0.0)
      for (name, values) in tuned {
        let (b, c) = (try #require(base[name]), try #require(coded[name]))
        for i in values.indices {
          error += Double(values[i] - c[i]) * Double(values[i] - c[i])
          whole += Double(values[i] - b[i]) * Double(values[i] - b[i])
        }
      }
      #expect(abs(report.error - (error / whole).squareRoot()) < 1e-3 * report.error)
      if method == .lowrank { #expect(report.error < 0.2.squareRoot() + 1e-3) }
    }
  }

  @Test func filesDependOnTheSeedAlone() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      func bytes(_ seed: UInt64, threads: Int) throws -> [UInt8] {
        try DeltaModels.make(folder) { ($0.method, $0.seed, $0.threads) = (.dare, seed, threads) }
        return try FileSystem.read("\(folder)/d.safetensors")
      }
      let first = try bytes(1, threads: 1)
      #expect(try bytes(1, threads: 3) == first)
      #expect(try bytes(2, threads: 1) != first)
      #expect(FileSystem.kind("\(folder)/d.safetensors.parts") == nil)
    }
  }

  /// What is written is coded, under its own name; `unpack` gives the plain file, which is read as well.
  @Test func filesAreCoded() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      for method in [DeltaMethod.ternary, .topk, .dare, .lowrank, .int8] {
        let report = try DeltaModels.make(folder) {
          $0.method = method
          if method == .lowrank { $0.rank = 5 }
        }
        let path = "\(folder)/d.safetensors"
        #expect(try report.fileBytes == File.reading(path).size())
        let options = UnpackingRun.Options(output: "\(folder)/\(method.rawValue).safetensors", threads: 2)
        _ = try UnpackingRun.execute(path, options, listener: SilentListener())
        // Of so little, what the container says of it is more than coding saves.
        #expect(try report.fileBytes < File.reading(options.output).size() + 1000, "\(method)")
        #expect(!WeightFile.isPacked(options.output) && WeightFile.isPacked(path))
        let plain = try DeltaModels.values("\(folder)/base+\(options.output)")
        #expect(try DeltaModels.values("\(folder)/base+\(path)") == plain, "\(method)")
      }
    }
  }

  /// Factors of random entries take nothing in a file, however large they say they are.
  @Test func factorsLargerThanTheParameterAreRefused() throws {
    let models = "\(packageFolder)/Models"
    try withTemporaryFolder { folder in
      var options = DeltaOptions(output: "\(folder)/l.safetensors")
      (options.threads, options.method, options.density) = (2, .dare, 0.5)
      _ = try DeltaMaking(
        of: "\(models)/lora-prose", from: "\(models)/base", options: options, families: Architecture.builtIn()
      ).run(listener: SilentListener())
      let file = try DeltaFile(at: options.output)
      var tensors = file.tensors
      var config = try #require(file.adapterConfig)
      config["r"] = .number(1 << 20)
      let name = try #require(tensors.first { if case .random = $0.form { $0.name.contains("lora_A") } else { false } })
        .name
      for index in tensors.indices where tensors[index].name.hasPrefix(String(name.split(separator: "lora_A")[0])) {
        // As many ranks as make them larger; nothing is read of them.
        let isA = tensors[index].name == name
        tensors[index].shape = isA ? [1 << 20, tensors[index].shape[1]] : [tensors[index].shape[0], 1 << 20]
      }
      let base = try SafetensorsCheckpoint(at: "\(models)/base")
      let found = problems {
        _ = try DeltaCheckpoint(base: base, tensors: tensors, adapterConfig: config, path: options.output)
      }
      #expect(found.contains { $0.message.hasPrefix("factors of random entries are larger") }, "\(found)")
    }
  }

  @Test func otherModelsAreRefused() throws {
    try withTemporaryFolder { folder in
      try DeltaModels.write(to: folder)
      try DeltaModels.write(
        [TestTensor("a.weight", [41, 60], [Float](repeating: 0, count: 2460)), TestTensor("c", [1], [0])],
        to: "\(folder)/other")
      let found = problems { try DeltaModels.make(folder, "other") }
      #expect(Set(found.map(\.code)) == [.deltaMismatch])
      #expect(found.contains { $0.message == "the base's parameter is [40, 60], the fine-tune's [41, 60]" })
      #expect(found.contains { $0.context.tensor == "c" && $0.message == "the base has no such parameter" })
      #expect(found.contains { $0.context.tensor == "norm.weight" })
      #expect(problem { try DeltaModels.make(folder, "base") }?.code == .deltaNothing)
      #expect(problem { try DeltaModels.make(folder) { $0.memory = 1 << 20 } }?.code == .memoryCeiling)
      try DeltaModels.make(folder)
      #expect(problem { try DeltaModels.make(folder) { $0.policy.force = false } }?.code == .outputExists)
    }
  }

  /// Tables of integers that the fine-tune does not store stay as the base has them.
  @Test func integersMayBeMissing() throws {
    try withTemporaryFolder { folder in
      let weight = TestTensor("a.weight", [20, 20], [Float](repeating: 1, count: 400))
      var tuned = weight
      tuned.values[7] = 2
      try DeltaModels.write(
        [weight, TestTensor("position_ids", [2], bytes: [UInt8](repeating: 0, count: 16), .i64)], to: "\(folder)/base")
      try DeltaModels.write([tuned], to: "\(folder)/ft0")
      let making = try DeltaMaking(
        of: "\(folder)/ft0", from: "\(folder)/base", options: DeltaOptions(output: "\(folder)/d.safetensors"),
        families: Architecture.builtIn())
      #expect(making.warnings.map(\.context.tensor) == ["position_ids"])
      _ = try making.run(listener: SilentListener())
      #expect(try DeltaModels.values("\(folder)/base+\(folder)/d.safetensors")["a.weight"]?[7] == 2)
    }
  }

  /// An adapter's factors are coded themselves.
  @Test func factorsOfAnAdapterAreCoded() throws {
    let models = "\(packageFolder)/Models"
    try withTemporaryFolder { folder in
      func make(_ change: (inout DeltaOptions) -> Void) throws -> DeltaReport {
        var options = DeltaOptions(output: "\(folder)/l.safetensors")
        (options.threads, options.policy.force) = (2, true)
        change(&options)
        return try DeltaMaking(
          of: "\(models)/lora-prose", from: "\(models)/base", options: options, families: Architecture.builtIn()
        ).run(listener: SilentListener())
      }
      _ = try make { ($0.method, $0.density, $0.values) = (.topk, 1, .f32) }
      let name = "model.layers.3.mlp.up_proj.weight"
      let whole = try #require(try DeltaModels.values("\(models)/base+\(models)/lora-prose")[name])
      #expect(try DeltaModels.values("\(models)/base+\(folder)/l.safetensors")[name] == whole)
      let report = try make { $0.density = 0.5 }
      // Nine times smaller than in float16 before it is coded, and eight with all that the file has to say.
      #expect(report.bytes < report.halfBytes / 9)
      #expect(report.fileBytes < report.halfBytes / 7)
      #expect(report.error > 0.2 && report.error < 0.7)
      #expect(try DeltaModels.values("\(models)/base+\(folder)/l.safetensors")[name] != whole)
    }
  }
}
