import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@testable import EspalierRecipes

/// GPTQ into the blocks of GGUF files, and codes that are carried into them.
@Suite("GPTQ and GGUF files")
struct BlockCalibrationTests {
  private static let base = "\(packageFolder)/Models/base"

  /// A small model with random weights, of a family's fixture with other sizes.
  ///
  /// - Parameter stacked: experts lie in one parameter, where the family has such a layout.
  private func model(
    _ name: String, _ sizes: [(String, Int)], in folder: String, stacked: Bool = false
  ) throws -> String {
    var config = try JSON(
      parsing: try FileSystem.read("\(packageFolder)/Tests/NetworksTests/Fixtures/\(name)/config.json"))
    for (key, value) in sizes { config[key] = .number(value) }
    let families = Architecture.builtIn()
    let family = try #require(Architecture.recognise(config: config, among: families))
    var generator = SeededGenerator(seed: 29)
    var tensors: [TestTensor] = []
    let all = try family.describe(config: config).parameters
    let parts = Set(all.flatMap(\.replaces))
    for parameter in all where parameter.tiedTo == nil && parameter.role.part != .buffer {
      let isStack = !parameter.replaces.isEmpty
      guard isStack ? stacked : !parameter.isOptional || parts.contains(parameter.name) else { continue }
      guard !stacked || !parts.contains(parameter.name) else { continue }
      let count = parameter.shape.reduce(1, *)
      tensors.append(TestTensor(parameter.name, parameter.shape, generator.floats(count, scale: 0.2)))
    }
    let path = "\(folder)/\(name)\(stacked ? "-stacked" : "")"
    try FileSystem.createFolder(path)
    try TestTensor.write(tensors, to: "\(path)/model.safetensors")
    try FileSystem.write(config.bytes(), to: "\(path)/config.json")
    return path
  }

  private func text(_ vocabulary: UInt64) -> CalibrationText {
    var generator = SeededGenerator(seed: 5)
    let sequences = (0..<8).map { _ in (0..<40).map { _ in Int32(generator.next() % vocabulary) } }
    return CalibrationText(tokens: sequences, cut: "tokens of a test")
  }

  private func calibration(
    _ mix: String, of model: String, to output: String, threads: Int = 2, vocabulary: UInt64 = 2048,
    keep: [String] = [], rules: [String] = [], _ change: (inout MergeOptions) -> Void = { _ in }
  ) throws -> (BlockCalibration, RunOptions) {
    let families = Architecture.builtIn()
    var request = QuantizationRequest(mix: try #require(QuantizationMix.named(mix)))
    request.rules = try rules.map { (text) throws(Problem) in try TensorTypeRule(text) }
    var reduction = ReductionRequest(
      method: "gptq", goal: .budget(.sparsity(0)), source: .text(text(vocabulary), isSequential: true))
    reduction.keep = keep
    let run = RunOptions(
      mode: .exact, pool: WorkerPool(threads: threads), memory: 1 << 30, families: families)
    var options = MergeOptions(output: output)
    (options.threads, options.memory, options.shardBytes) = (threads, 1 << 30, .max)
    change(&options)
    let calibration = try BlockCalibration(
      request, calibratedBy: reduction, of: model,
      checkpoint: try Architecture.openCheckpoint(at: model, families: families), run: run, options: options)
    return (calibration, run)
  }

  @discardableResult
  private func write(
    _ mix: String, of model: String, to output: String, threads: Int = 2, vocabulary: UInt64 = 2048,
    keep: [String] = [], rules: [String] = [], change: (inout MergeOptions) -> Void = { _ in },
    measure: ((String) throws(Problem) -> ReductionReport.Evaluation?)? = nil
  ) throws -> QuantizationReport {
    let (calibration, run) = try calibration(
      mix, of: model, to: output, threads: threads, vocabulary: vocabulary, keep: keep, rules: rules, change)
    return try calibration.execute(run: run, listener: SilentListener(), measure: measure)
  }

  private func requantize(
    _ model: String, _ mix: String, to output: String, again: Bool = true, rules: [String] = []
  ) throws -> QuantizationReport {
    let families = Architecture.builtIn()
    var request = QuantizationRequest(mix: try #require(QuantizationMix.named(mix)))
    request.rules = try rules.map { (text) throws(Problem) in try TensorTypeRule(text) }
    request.allowsRequantizing = again
    var options = MergeOptions(output: output)
    (options.threads, options.memory, options.shardBytes) = (2, 1 << 30, .max)
    let plan = try QuantizationPlan(
      request, of: model, checkpoint: try Architecture.openCheckpoint(at: model, families: families),
      families: families, options: options)
    return try QuantizationRun.execute(plan, listener: SilentListener())
  }

  /// The numbers of a model's parameters by name.
  private func values(of path: String) throws -> [ExactString: [Float]] {
    let checkpoint = try Architecture.openCheckpoint(at: path, families: Architecture.builtIn())
    return try Dictionary(
      uniqueKeysWithValues: checkpoint.parameters.map { (ExactString($0.name), try $0.allElements()) })
  }

  @Test("Types and bytes are those of plain encoding, errors are smaller, and are those of the written file")
  func errors() throws {
    try withTemporaryFolder { folder in
      let (file, plain) = ("\(folder)/m.gguf", "\(folder)/plain.gguf")
      let report = try write("Q3_K_M", of: Self.base, to: file)
      _ = try requantize(Self.base, "Q3_K_M", to: plain)
      let (a, b) = (try GGUFFiles(at: file).storedTensors(), try GGUFFiles(at: plain).storedTensors())
      #expect(
        a.map(\.name) == b.map(\.name) && a.map(\.format) == b.map(\.format) && a.map(\.offset) == b.map(\.offset))
      // What is no matrix in a layer has the same bytes.
      var same = 0
      for (one, other) in zip(a, b) {
        let (bytes, others) = (
          try File.reading(one.file).read(one.byteCount, at: one.offset),
          try File.reading(other.file).read(other.byteCount, at: other.offset)
        )
        same += bytes == others ? 1 : 0
      }
      #expect(same == 18)
      let outcome = try #require(report.calibration)
      #expect(outcome.outcomes.count == 56)
      for matrix in outcome.outcomes {
        let plain = try #require(matrix.baseline)
        #expect(matrix.error.kind == .measured && matrix.error.error < plain, "\(matrix.name)")
      }
      #expect(Set(outcome.outcomes.map(\.budget)) == ["Q3_K", "Q4_K", "Q5_K"])
      // The first block's inputs are those of the model as it was.
      let (before, after) = (try values(of: Self.base), try values(of: file))
      let seen = try rows(of: Self.base, text(2048))
      for matrix in outcome.outcomes where matrix.site.contains("layers.0.") && matrix.name.contains("_proj") {
        guard matrix.name.contains("q_proj") || matrix.name.contains("v_proj") else { continue }
        let name = ExactString(matrix.name)
        let (weight, changed) = (
          try Matrix(rows: matrix.outputs, columns: matrix.inputs, elements: try #require(before[name])),
          try Matrix(rows: matrix.outputs, columns: matrix.inputs, elements: try #require(after[name]))
        )
        let expected = outputError(weight, changed, try #require(seen[matrix.site]))
        #expect(abs(matrix.error.error - expected) < 1e-4 * expected)
      }
      #expect(report.text.contains("56 matrices by gptq") && report.markdown.contains("Rounded by `gptq`"))
      #expect(report.json["calibration"]?["matrices"]?.array?.count == 56)
      #expect(report.request.contains("method gptq"))
      #expect(try FileSystem.list(folder).sorted() == ["m.gguf", "m.report", "plain.gguf", "plain.report"])
      let verified = try Verification.verify("\(folder)/m.report", threads: 2, listener: SilentListener())
      #expect(verified.problems.isEmpty)
    }
  }

  @Test("The same bytes whatever the threads, and after an interruption")
  func determinism() throws {
    try withTemporaryFolder { folder in
      let (first, one, other) = ("\(folder)/first.gguf", "\(folder)/one.gguf", "\(folder)/other.gguf")
      let types = ["ffn_up=Q2_K", "attn_v=Q4_0"]
      try write("Q4_K_M", of: Self.base, to: first, rules: types)
      try write("Q4_K_M", of: Self.base, to: one, threads: 1, rules: types)
      let bytes = try FileSystem.read(first)
      #expect(try FileSystem.read(one) == bytes)
      let stopped = problem {
        try write(
          "Q4_K_M", of: Self.base, to: other, rules: types,
          measure: { (_) throws(Problem) in throw Problem(.fileWrite, "stopped") })
      }
      #expect(stopped?.message == "stopped" && FileSystem.kind(other) == nil)
      // Without --resume an unfinished run is in the way.
      let refused = problem { try write("Q4_K_M", of: Self.base, to: other, rules: types) }
      #expect(refused?.code == .outputPartial)
      // Another request does not continue it.
      let changed = problem { try write("Q4_K_M", of: Self.base, to: other, change: { $0.policy.resume = true }) }
      #expect(changed?.code == .journalMismatch)
      let pieces = ReductionPieces.path(beside: BlockCalibration.workPath(beside: other))
      let files = try FileSystem.list(pieces).filter { $0.hasSuffix(".safetensors") }.sorted()
      #expect(files.count == 56)
      try flip("\(pieces)/\(files[20])", at: try FileSystem.read("\(pieces)/\(files[20])").count - 1)
      try FileSystem.remove("\(pieces)/\(files[33])")
      let resumed = try write("Q4_K_M", of: Self.base, to: other, rules: types, change: { $0.policy.resume = true })
      #expect(resumed.calibration?.resumed == 54)
      #expect(try FileSystem.read(other) == bytes)
      #expect(FileSystem.kind(pieces) == nil)
      let (manifest, whole) = (
        try FileSystem.read("\(folder)/other.report/\(Manifest.fileName)"),
        try FileSystem.read("\(folder)/first.report/\(Manifest.fileName)")
      )
      #expect(
        String(decoding: manifest, as: UTF8.self).replacing("other", with: "first")
          == String(decoding: whole, as: UTF8.self))
    }
  }

  @Test("Experts in one tensor, matrices that are stored turned, and fused ones")
  func families() throws {
    let sizes = [("hidden_size", 64), ("intermediate_size", 96), ("num_attention_heads", 4)]
    let models: [(String, [(String, Int)], Int, Bool)] = [
      ("mixtral", sizes, 2 * (4 + 4 * 3), false), ("mixtral", sizes, 2 * (4 + 4 * 3), true),
      ("gpt2", [("n_embd", 64)], 2 * 4, false), ("phi3", sizes, 2 * 4, false),
    ]
    try withTemporaryFolder { folder in
      for (name, changes, count, stacked) in models {
        let path = try model(name, changes, in: folder, stacked: stacked)
        let file = path + ".gguf"
        let report = try write("Q4_0", of: path, to: file, vocabulary: 120)
        let outcomes = try #require(report.calibration).outcomes
        #expect(outcomes.count == count, "\(name)")
        let plain = "\(path)-plain.gguf"
        let plainReport = try requantize(path, "Q4_0", to: plain)
        #expect(report.tensors.map(\.to) == plainReport.tensors.map(\.to))
        // Blocks that GPTQ found are no codes of the model.
        #expect(!report.text.contains("codes carried over") && !report.tensors.contains { $0.isCarried }, "\(name)")
        // Measured on the written file as a network reads it.
        let (before, after) = (try matrices(ofAny: path), try matrices(ofAny: file))
        var compared = 0
        let seen = try rows(of: path, text(120))
        // The first site's inputs are those of the model as it was.
        for outcome in outcomes where outcome.site == outcomes[0].site {
          let (weight, changed) = (try #require(before[outcome.name]), try #require(after[outcome.name]))
          let x = try #require(seen[outcome.site])
          let expected = outputError(weight, changed, x)
          #expect(expected > 0 && abs(outcome.error.error - expected) < 2e-4 * expected, "\(outcome.name)")
          compared += 1
        }
        #expect(compared > 0)
        // No expert's rows went to another.
        for (name, weight) in before {
          guard let changed = after[name] else { continue }
          let difference = zip(weight.elements, changed.elements).reduce(0.0) {
            $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1))
          }
          let norm = weight.elements.reduce(0.0) { $0 + Double($1 * $1) }
          #expect((difference / norm).squareRoot() < 0.35, "\(name)")
        }
      }
    }
  }

  @Test(
    "Of experts whose gate and up are one parameter one half may stay F16: it and the other are encoded as they are")
  func halves() throws {
    try withTemporaryFolder { folder in
      let path = try model(
        "mixtral", [("hidden_size", 64), ("intermediate_size", 96), ("num_attention_heads", 4)], in: folder,
        stacked: true)
      let (file, plain) = ("\(folder)/m.gguf", "\(folder)/plain.gguf")
      let rules = ["ffn_gate_exps=F16"]
      let report = try write("Q4_0", of: path, to: file, vocabulary: 120, rules: rules)
      _ = try requantize(path, "Q4_0", to: plain, rules: rules)
      let calibrated = try #require(report.calibration).outcomes.map(\.parameter)
      #expect(!calibrated.isEmpty && !calibrated.contains { $0.contains("gate_up") })
      let (a, b) = (try GGUFFiles(at: file).storedTensors(), try GGUFFiles(at: plain).storedTensors())
      for (one, other) in zip(a, b) {
        #expect(one.name == other.name && one.format == other.format)
        let same =
          try File.reading(one.file).read(one.byteCount, at: one.offset)
          == File.reading(other.file).read(other.byteCount, at: other.offset)
        let isHalf = one.name.contains("gate_exps") || one.name.contains("up_exps")
        if isHalf { #expect(same, "\(one.name)") }
        if one.name.contains("down_exps") { #expect(!same, "\(one.name)") }
      }
      // What was encoded as it is has an error, what was calibrated has its own table.
      for tensor in report.tensors {
        #expect(!tensor.isCarried, "\(tensor.name)")
        if tensor.name.contains("up_exps") { #expect((tensor.error ?? 0) > 0) }
        if tensor.name.contains("down_exps") { #expect(tensor.error == nil) }
      }
    }
  }

  private func matrices(ofAny path: String) throws -> [String: Matrix<Float>] {
    let network = try Network(
      try Architecture.openCheckpoint(at: path, families: Architecture.builtIn()), residency: .streamed,
      workers: WorkerPool(threads: 2))
    var found: [String: Matrix<Float>] = [:]
    for index in try network.blocks().indices {
      for matrix in try network.matrices(ofBlock: index) { found[matrix.name] = try network.weight(of: matrix) }
    }
    return found
  }

  @Test(
    "What was quantized stays what it was in blocks that hold it",
    arguments: [
      ("gptq", 4, "Q4_0"), ("rtn", 4, "Q5_0"), ("rtn", 8, "Q8_0"), ("rtn", 4, "Q8_0"), ("rtn", 3, "Q4_0"),
    ] as [(String, Int, String)])
  func carried(method: String, bits: Int, mix: String) throws {
    try withTemporaryFolder { folder in
      let (codes, file) = ("\(folder)/codes", "\(folder)/m.gguf")
      var request = ReductionRequest(
        method: method, goal: .budget(.sparsity(0)),
        source: method == "gptq" ? .text(text(2048), isSequential: false) : .nothing)
      request.parameters = ["bits": .number(Double(bits)), "group_size": .number(64)]
      request.storage = .packed
      try ReducedModel(path: Self.base).reduce(request, to: codes)
      let report = try requantize(codes, mix, to: file, again: false)
      let (before, after) = (try values(of: codes), try values(of: file))
      let carried = report.tensors.filter(\.isCarried)
      #expect(carried.count == 56 && carried.allSatisfy { $0.error == 0 && $0.to == mix })
      #expect(report.text.contains("codes carried over: 56 tensors, 56 without any error"))
      var compared = 0
      for (name, values) in before where "\(name)".hasSuffix("proj.weight") {
        #expect(after[name] == values, "\(name)")
        compared += 1
      }
      #expect(compared == 56)
      // Fewer levels are a second rounding: refused where it was not asked for, and told where it was.
      let less = "\(folder)/less.gguf"
      let refused = problem { try requantize(codes, "Q2_K", to: less, again: false) }
      // Of how many headers tell it depends on what they leave to scales.
      #expect(refused?.message.contains(" tensors are quantized already") == true)
      let again = try requantize(codes, "Q2_K", to: less)
      #expect(again.tensors.allSatisfy { !$0.isCarried && ($0.error ?? 1) > 0 })
    }
  }

  @Test("What cannot be done is said before a weight is read")
  func refusals() throws {
    try withTemporaryFolder { folder in
      let file = "\(folder)/m.gguf"
      let none = problem { try calibration("F16", of: Self.base, to: file) }
      #expect(none?.message.contains("no matrix is left") == true)
      let (uneven, _) = try calibration("IQ4_XS", of: Self.base, to: file, rules: ["ffn_up=Q4_K"])
      #expect(uneven.warnings.contains { $0.message.contains("not evenly spaced") })
      #expect(try FileSystem.list(folder).isEmpty)
      let path = try model(
        "mixtral", [("hidden_size", 64), ("intermediate_size", 96), ("num_attention_heads", 4)], in: folder,
        stacked: true)
      let part = problem {
        try calibration("Q4_0", of: path, to: file, vocabulary: 120, keep: ["experts.2"])
      }
      #expect(part?.message.contains("not all are quantized") == true)
      let apart = try model(
        "mixtral", [("hidden_size", 64), ("intermediate_size", 96), ("num_attention_heads", 4)], in: folder)
      let some = problem {
        try calibration("Q4_0", of: apart, to: file, vocabulary: 120, keep: ["experts.2"])
      }
      #expect(some?.message.contains("parameters that the tensor is made of") == true)
    }
  }
}
