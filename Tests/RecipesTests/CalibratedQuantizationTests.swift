import EspalierBasics
import EspalierCalibration
import EspalierCheckpoints
import EspalierExecution
import EspalierNetworks
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@testable import EspalierRecipes

/// Whole models as packed codes.
@Suite struct CalibratedQuantizationTests {
  struct Case: CustomTestStringConvertible {
    let method: String
    let parameters: [String: ParameterValue]
    let layout: PackedLayout?
    var model = "llama_gqa_untied"
    var testDescription: String { "\(method) \(layout?.rawValue ?? "") \(model)" }

    func request(isSequential: Bool = false) -> ReductionRequest {
      var request = ReducedModel(name: model).request(method, .sparsity(0), isSequential: isSequential)
      request.parameters = parameters
      request.storage = .packed
      request.layout = layout
      return request
    }
  }

  private static let four: [String: ParameterValue] = ["bits": .number(4), "group_size": .number(8)]
  private static func four(_ more: [String: ParameterValue]) -> [String: ParameterValue] {
    four.merging(more) { $1 }
  }

  static let cases = [
    Case(method: "rtn", parameters: ["bits": .number(3), "scales": .word("row")], layout: nil),
    Case(method: "rtn", parameters: four(["symmetric": .flag(false)]), layout: .packQuantized, model: "phi3"),
    Case(method: "rtn", parameters: four, layout: .packQuantized, model: "gpt2"),
    Case(method: "rtn", parameters: four, layout: .packQuantized, model: "mixtral"),
    Case(method: "gptq", parameters: four(["block_size": .number(16)]), layout: nil),
    Case(
      method: "gptq",
      parameters: four(["symmetric": .flag(false), "block_size": .number(16), "act_order": .flag(true)]), layout: nil),
    Case(method: "awq", parameters: four(["symmetric": .flag(false)]), layout: nil),
    Case(method: "awq", parameters: four, layout: .packQuantized, model: "gpt2"),
    Case(method: "awq", parameters: four, layout: .packQuantized, model: "qwen2_untied"),
    Case(method: "awq", parameters: four, layout: .packQuantized, model: "gemma"),
    Case(method: "awq", parameters: four, layout: .packQuantized, model: "phi3"),
    Case(method: "awq", parameters: four, layout: .packQuantized, model: "mixtral"),
    Case(method: "smooth", parameters: [:], layout: nil),
    Case(method: "fp8", parameters: [:], layout: nil),
    Case(
      method: "fp8", parameters: ["scales": .word("block"), "block_size": .number(8)], layout: nil, model: "qwen3_moe"),
  ]

  /// What columns were multiplied by, by site, and rows divided by, by matrix, when blocks see the original ones.
  private func factors(
    of wanted: Case, in model: ReducedModel
  ) throws -> (folds: [ColumnFold], columns: [String: [Float]], rows: [String: [Float]]) {
    let (plan, pool) = try model.plan(wanted.request(), to: "/nowhere/out")
    var method: any InputScaling = try AWQ(ReductionParameters([:], for: AWQ.card))
    switch wanted.method {
    case "awq": method = try AWQ(ReductionParameters(wanted.parameters, for: AWQ.card))
    case "smooth": method = try SmoothRounding(ReductionParameters(wanted.parameters, for: SmoothRounding.card))
    default: return ([], [:], [:])
    }
    let folds = plan.blocks.flatMap(\.folds)
    var (columns, rows): ([String: [Float]], [String: [Float]]) = ([:], [:])
    for fold in folds {
      let weights = try plan.blocks.flatMap(\.matrices).filter { $0.site == fold.site }
        .map { try plan.network.weight(of: $0) }
      var known: SiteStatistics? = try statistics(of: fold.site, plan.network, pool)
      known = SiteReduction.Seen(known, nil, width: weights[0].columns).known
      let scales = try method.inputScales(
        of: weights, known, sharing: fold.sharing, parallel: MatrixProduct.serially)
      let divided = try fold.divided(by: scales)
      columns[fold.site] = divided.scales
      rows[fold.target] = divided.divisors
    }
    return (folds, columns, rows)
  }

  @Test(arguments: cases) func errorsAreThoseOfTheWrittenModel(_ wanted: Case) throws {
    try withTemporaryFolder { folder in
      let (model, output) = (ReducedModel(name: wanted.model), "\(folder)/out")
      let report = try model.reduce(wanted.request(), to: output)
      let written = try SafetensorsCheckpoint(at: output)
      #expect(written.config?["quantization_config"] == nil)
      let config = try JSON(parsing: try FileSystem.read("\(output)/config.json"))
      #expect(config["quantization_config"]?["quant_method"] != nil)
      let (before, after) = (try matrices(of: model.path), try matrices(of: output))
      let rows = try rows(of: model.path, ReducedModel.text())
      let scales = ["awq", "smooth"].contains(wanted.method)
      let factors = try factors(of: wanted, in: model)
      var folded = 0
      for outcome in report.outcomes {
        let original = try #require(before.first { $0.matrix.name == outcome.name })
        let changed = try #require(after.first { $0.matrix.name == outcome.name })
        #expect(changed.matrix.parameter.isQuantized)
        // What it stands for: its columns over the factors, its rows times what they were divided by.
        var weight = changed.weight
        if let divisors = factors.rows[outcome.name] { weight = weight.multiplied(rows: divisors) }
        if let columns = factors.columns[outcome.site] {
          weight = weight.transposed.divided(rows: columns).transposed
        }
        folded += weight == changed.weight ? 0 : 1
        guard let seen = rows[outcome.site] else { continue }
        let expected = outputError(original.weight, weight, seen)
        #expect(expected > 0 && abs(outcome.error.error - expected) <= 1e-5 + 1e-4 * expected, "\(outcome.name)")
      }
      #expect(report.outcomes.count > 3 && (folded > 0) == scales)
      let verified = try Verification.verify(output, threads: 2, listener: SilentListener())
      #expect(verified.problems.isEmpty)
      // All that is no matrix of the report and nothing that was divided is as it was.
      let changedNames = Set(
        report.outcomes.map(\.parameter) + factors.folds.flatMap { $0.parameters.map(\.name) })
      let parameters = written.parametersByName()
      for parameter in try model.checkpoint().parameters where !changedNames.contains(parameter.name) {
        let same = try #require(parameters[ExactString(parameter.name)])
        #expect(try bytes(of: parameter) == bytes(of: same))
      }
    }
  }

  /// Statistics of a site of the first block, gathered as the run gathers them.
  private func statistics(of site: String, _ network: Network, _ pool: WorkerPool) throws -> SiteStatistics {
    let run = try BlockRun(network, sequences: ReducedModel.text().windows.sequences)
    for block in try network.blocks() {
      if let found = block.sites.first(where: { $0.name == site }) {
        let gathering = try SiteGathering([found], momentLimit: 1 << 20, workers: pool)
        try run.showBlock(sites: [site]) { (site, rows) throws(Problem) in try gathering.add(site, rows) }
        return try #require(try gathering.finish(found)).value()
      }
      _ = try run.runBlock(observe: nil)
    }
    throw Problem(.reduction, "there is no site \(site)")
  }

  @Test func weightsAreThoseOfTheSolver() throws {
    try withTemporaryFolder { folder in
      let wanted = Self.cases[4]
      let (model, output) = (ReducedModel(name: wanted.model), "\(folder)/out")
      try model.reduce(wanted.request(), to: output)
      let name = "model.layers.1.mlp.down_proj.weight"
      let original = try #require(try matrices(of: model.path).first { $0.matrix.name == name })
      let pool = WorkerPool(threads: 2)
      let network = try Network(try model.checkpoint(), residency: .streamed, workers: pool)
      let known = try statistics(of: original.matrix.site, network, pool)
      let solver = try GPTQ(ReductionParameters(wanted.parameters, for: GPTQ.card))
      let solved = try solver.reduce(original.weight, known, to: .sparsity(0), parallel: MatrixProduct.serially)
      let written = try #require(try matrices(of: output).first { $0.matrix.name == name })
      let expected = try solved.form.materialized()
      #expect(written.weight == expected)
      #expect(written.matrix.parameter.packedForm?.formatName == "GPTQ 4-bit")
    }
  }

  @Test(arguments: [4, 6, 8]) func bytesDependOnNeitherThreadsNorInterruption(index: Int) throws {
    try withTemporaryFolder { folder in
      let wanted = Self.cases[index]
      let model = ReducedModel(name: wanted.model)
      let request = wanted.request(isSequential: true)
      let (first, one, other) = ("\(folder)/first", "\(folder)/one", "\(folder)/other")
      let whole = try model.reduce(request, to: first)
      try model.reduce(request, to: one, threads: 1)
      #expect(try weightBytes(one) == weightBytes(first))
      let stopped = problem {
        try model.reduce(request, to: other) { (_) throws(Problem) in throw Problem(.fileWrite, "stopped") }
      }
      #expect(stopped?.message == "stopped" && FileSystem.kind(other) == nil)
      let pieces = ReductionPieces.path(beside: other)
      let files = try FileSystem.list(pieces).filter { $0.hasSuffix(".safetensors") }
      let size = try FileSystem.read("\(pieces)/\(files[2])").count
      try flip("\(pieces)/\(files[2])", at: size - 1)
      try FileSystem.remove("\(pieces)/\(files[5])")
      let resumed = try model.reduce(request, to: other, resume: true)
      #expect(resumed.resumed > 0 && resumed.resumed < whole.outcomes.count)
      #expect(try weightBytes(other) == weightBytes(first))
      for name in [Manifest.fileName, "config.json"] {
        let (resumedFile, wholeFile) = (
          try FileSystem.read("\(other)/\(name)"), try FileSystem.read("\(first)/\(name)")
        )
        #expect(resumedFile == wholeFile)
      }
      #expect(FileSystem.kind(pieces) == nil)
    }
  }

  @Test func denseIsWhatCodesStandFor() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      var request = Self.cases[0].request()
      try model.reduce(request, to: "\(folder)/packed")
      request.storage = .dense
      let report = try model.reduce(request, to: "\(folder)/dense")
      let (packed, dense) = (try matrices(of: "\(folder)/packed"), try matrices(of: "\(folder)/dense"))
      for (a, b) in zip(packed, dense) {
        #expect(a.weight == b.weight && !b.matrix.parameter.isQuantized)
      }
      #expect(report.outcomes.allSatisfy { $0.budget == "3 bits, rows" })
    }
  }

  @Test func theReportTellsOfFoldsAndOfPlainRounding() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      let report = try model.reduce(Self.cases[6].request(), to: "\(folder)/out")
      let layers = try model.checkpoint().config?["num_hidden_layers"]?.integer ?? 0
      let folded = try #require(report.json["scaled_sites"]?["folded"]?.array)
      #expect(folded.count == 4 * layers && report.json["scaled_sites"]?["left"]?.array == [])
      #expect(
        folded.contains([
          "site": "text/0/attention.output", "into": "model.layers.0.self_attn.v_proj.weight",
        ]))
      #expect(
        report.markdown.contains("| text/0/feedForward.down | model.layers.0.mlp.up_proj.weight |"))
      #expect(report.json["layout"] == "awq" && report.outcomes.allSatisfy { $0.baseline != nil })
      #expect(report.markdown.contains("4 bits with zero points, groups of 8"))
      // Neither a norm whose matrices are not all quantized takes factors, nor a matrix that is not.
      for (kept, count) in [("q_proj", 3), ("v_proj", 2), ("o_proj", 3)] {
        var request = Self.cases[6].request()
        request.keep = [kept]
        let report = try model.reduce(request, to: "\(folder)/\(kept)")
        #expect(report.json["scaled_sites"]?["folded"]?.array?.count == count * layers, "\(kept)")
        #expect(report.markdown.contains("Nothing takes factors of text/0/") == (kept != "o_proj"))
      }
    }
  }

  static let refusals: [(Case, String)] = [
    (Case(method: "awq", parameters: ["bits": .number(3), "group_size": .number(8)], layout: .awq), "codes of 3 bits"),
    (Case(method: "awq", parameters: ["group_size": .number(10)], layout: .awq), "not whole groups"),
    (Case(method: "rtn", parameters: ["group_size": .number(10)], layout: .packQuantized), "not whole groups"),
    (Case(method: "gptq", parameters: four(["symmetric": .flag(false)]), layout: .gptq), "no zero point of 0"),
    (Case(method: "gptq", parameters: ["bits": .number(5)], layout: .gptq), "codes of 5 bits"),
    (Case(method: "rtn", parameters: four, layout: .floatQuantized), "its codes are integers"),
    (Case(method: "wanda", parameters: [:], layout: .gptq), "makes no codes"),
    (Case(method: "gptq", parameters: ["bits": .number(9)], layout: .gptq), "bits"),
  ]

  @Test(arguments: refusals.indices) func refusesBeforeAnyWeightIsRead(index: Int) throws {
    try withTemporaryFolder { folder in
      let (wanted, message) = Self.refusals[index]
      let model = ReducedModel(name: wanted.model)
      let found = problem { try model.plan(wanted.request(), to: "\(folder)/out") }
      #expect(found?.message.contains(message) == true, "\(String(describing: found))")
      let left = try FileSystem.list(folder)
      #expect(left.isEmpty)
    }
  }
}

private func weightBytes(_ folder: String) throws -> [UInt8] { try FileSystem.read("\(folder)/model.safetensors") }

private func bytes(of parameter: Parameter) throws -> [UInt8] {
  try parameter.recipe.storedTensors.flatMap { try File.reading($0.file).read($0.byteCount, at: $0.offset) }
}
