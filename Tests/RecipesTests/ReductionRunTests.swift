import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNetworks
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@testable import EspalierRecipes

@Suite struct ReductionRunTests {
  /// Plain, Conv1D, fused and stacked matrices, experts of their own, state spaces, encoders.
  static let families = [
    "llama_gqa_untied", "qwen2_tied_bf16", "gpt2", "phi3", "gpt_neox_parallel", "mixtral", "qwen3_moe", "mamba",
    "mamba2", "gemma2", "bert_base", "distilbert_mlm",
  ]

  @Test(arguments: families) func errorsAreThoseOfTheRows(family: String) throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: family)
      let report = try model.reduce(model.request("wanda", .sparsity(0.5), isSequential: false), to: "\(folder)/out")
      let (before, after) = (try matrices(of: model.path), try matrices(of: "\(folder)/out"))
      let rows = try rows(of: model.path, ReducedModel.text())
      #expect(!report.outcomes.isEmpty)
      for outcome in report.outcomes {
        let original = try #require(before.first { $0.matrix.name == outcome.name })
        let changed = try #require(after.first { $0.matrix.name == outcome.name })
        let zeros = changed.weight.elements.count { $0 == 0 }
        #expect(zeros >= original.weight.rows * (original.weight.columns / 2))
        // Of an expert that no row reached there is nothing to measure but the weight.
        guard let seen = rows[outcome.site] else { continue }
        let expected = outputError(original.weight, changed.weight, seen)
        #expect(abs(outcome.error.error - expected) <= 1e-5 + 1e-4 * expected, "\(outcome.name)")
        #expect(outcome.rows == seen.count)
      }
    }
  }

  @Test func whatIsNotReducedKeepsItsBytes() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      var request = model.request("magnitude", .sparsity(0.25))
      request.keep = ["down_proj", "layers\\.0\\..*q_proj"]
      let report = try model.reduce(request, to: "\(folder)/out")
      let reduced = Set(report.outcomes.map(\.parameter))
      #expect(!reduced.isEmpty && !reduced.contains { $0.contains("down_proj") })
      #expect(!reduced.contains("model.layers.0.self_attn.q_proj.weight"))
      #expect(reduced.contains("model.layers.1.self_attn.q_proj.weight"))
      let output = try SafetensorsCheckpoint(at: "\(folder)/out").parametersByName()
      for parameter in try model.checkpoint().parameters {
        let changed = try #require(output[ExactString(parameter.name)])
        let isEqual = try bytes(of: parameter) == bytes(of: changed)
        #expect(isEqual != reduced.contains(parameter.name), "\(parameter.name)")
      }
      let outcome = try Verification.verify("\(folder)/out", threads: 2, listener: SilentListener())
      #expect(outcome.problems.isEmpty)
    }
  }

  @Test func onlyReachesWhatIsSparedOtherwise() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      var request = model.request("magnitude", .sparsity(0.5))
      request.only = ["lm_head"]
      let report = try model.reduce(request, to: "\(folder)/out")
      #expect(report.outcomes.map(\.name) == ["lm_head.weight"])
    }
  }

  @Test(arguments: ["sparsegpt", "wanda", "whitened-svd"])
  func bytesDependOnNeitherThreadsNorMemoryNorInterruption(method: String) throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      let budget = method == "whitened-svd" ? MatrixBudget.rank(3) : .sparsity(0.5)
      var request = model.request(method, budget)
      request.storage = .reduced
      let first = "\(folder)/first"
      try model.reduce(request, to: first)
      let (one, other) = ("\(folder)/one", "\(folder)/other")
      try model.reduce(request, to: one, threads: 1)
      #expect(try weightBytes(one) == weightBytes(first))

      // A run that ends before it writes leaves its pieces; one of them is damaged, one is missing.
      struct Stop {}
      let stopped = problem {
        try model.reduce(request, to: other) { (_) throws(Problem) in throw Problem(.fileWrite, "stopped") }
      }
      #expect(stopped?.message == "stopped")
      #expect(FileSystem.kind(other) == nil)
      let pieces = ReductionPieces.path(beside: other)
      let files = try FileSystem.list(pieces).filter { $0.hasSuffix(".safetensors") }
      #expect(problem { try model.plan(request, to: other) }?.code == .outputPartial)
      let size = try FileSystem.read("\(pieces)/\(files[1])").count
      try flip("\(pieces)/\(files[1])", at: size - 1)
      try FileSystem.remove("\(pieces)/\(files[4])")
      let resumed = try model.reduce(request, to: other, resume: true)
      #expect(resumed.resumed == files.count - 2)
      #expect(try weightBytes(other) == weightBytes(first))
      #expect(FileSystem.kind(pieces) == nil)
    }
  }

  @Test func aPieceOfAnotherParameterIsNotTaken() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      let request = model.request("magnitude", .sparsity(0.5))
      let (first, output) = ("\(folder)/first", "\(folder)/out")
      try model.reduce(request, to: first)
      _ = problem {
        try model.reduce(request, to: output) { (_) throws(Problem) in throw Problem(.fileWrite, "stopped") }
      }
      let pieces = ReductionPieces.path(beside: output)
      let files = try FileSystem.list(pieces).filter { $0.hasSuffix(".safetensors") }
      try FileSystem.write(try FileSystem.read("\(pieces)/\(files[0])"), to: "\(pieces)/\(files[3])")
      let resumed = try model.reduce(request, to: output, resume: true)
      #expect(resumed.resumed == files.count - 1)
      #expect(try weightBytes(output) == weightBytes(first))
    }
  }

  @Test func twoRunsHaveEqualManifests() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      let request = model.request("sparsegpt", .sparsity(0.5))
      for name in ["a", "b"] { try model.reduce(request, to: "\(folder)/\(name)") }
      let manifests = try ["a", "b"].map { try FileSystem.read("\(folder)/\($0)/\(Manifest.fileName)") }
      #expect(manifests[0] == manifests[1])
    }
  }

  @Test func reportedSizesAreThoseOfTheOutput() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      var request = model.request("svd", .rank(4))
      request.storage = .reduced
      request.only = ["q_proj"]
      try model.reduce(request, to: "\(folder)/first")
      // A second reduction leaves what the first left in another form as it is.
      let second = ReducedModel(path: "\(folder)/first")
      request.only = ["o_proj"]
      let report = try second.reduce(request, to: "\(folder)/second")
      let output = try SafetensorsCheckpoint(at: "\(folder)/second")
      let bytes = output.parameters.reduce(0) { $0 + $1.recipe.storedTensors.reduce(0) { $0 + $1.byteCount } }
      #expect(report.modelBytesAfter == bytes)
      let forms = output.parameters.filter { $0.reducedForm != nil }.map(\.name)
      #expect(forms.contains { $0.contains("q_proj") } && forms.contains { $0.contains("o_proj") })
    }
  }

  @Test func budgetsAreOfTheMatricesThatAreReduced() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      let request = model.request("magnitude", .sparsity(0.5))
      let (wide, pool) = try model.plan(request, to: "\(folder)/out")
      let table = try SensitivityRun.measure(
        wide, levels: SensitivityRun.standardLevels(of: "magnitude"), workers: pool, listener: SilentListener())
      var narrow = request
      narrow.keep = ["mlp"]
      let (plan, _) = try model.plan(narrow, to: "\(folder)/out")
      let resolution = try BudgetResolution(.sparsity(0.5), .relative, from: table, for: plan)
      #expect(resolution.table.rows.allSatisfy { !$0.name.contains("mlp") })
      narrow.goal = resolution.goal
      let report = try model.reduce(narrow, to: "\(folder)/out")
      let zeros = report.numbersBefore - report.numbersAfter
      #expect(2 * zeros >= report.numbersBefore)

      // A size cannot be kept by zeros in place, whatever a table says; an error can.
      let refused = problem { try BudgetResolution(.bytes(wide.modelBytes / 2), .relative, from: table, for: wide) }
      #expect(refused?.code == .reduction)
      let exact = try BudgetResolution(.maxError(0.3), .relative, from: table, for: wide)
      #expect(exact.assignment.levels.contains { $0 != nil })
    }
  }

  @Test func anotherRequestIsNotResumed() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      let output = "\(folder)/out"
      _ = problem {
        try model.reduce(model.request("magnitude", .sparsity(0.5)), to: output) { (_) throws(Problem) in
          throw Problem(.fileWrite, "stopped")
        }
      }
      let other = problem { try model.reduce(model.request("magnitude", .sparsity(0.4)), to: output, resume: true) }
      #expect(other?.code == .journalMismatch)
      #expect(other?.message.contains("request") == true)
    }
  }

  @Test func inSequenceLaterBlocksSeeReducedOnes() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      let request = model.request("wanda", .sparsity(0.5))
      let report = try model.reduce(request, to: "\(folder)/out")
      let before = try matrices(of: model.path)
      let (dense, reduced) = (
        try rows(of: model.path, ReducedModel.text()), try rows(of: "\(folder)/out", ReducedModel.text())
      )
      let after = try matrices(of: "\(folder)/out")
      func error(_ name: String, on rows: [String: [[Float]]]) throws -> (found: Double, expected: Double) {
        let outcome = try #require(report.outcomes.first { $0.name == name })
        let original = try #require(before.first { $0.matrix.name == name })
        let changed = try #require(after.first { $0.matrix.name == name })
        let seen = try #require(rows[outcome.site])
        return (outcome.error.error, outputError(original.weight, changed.weight, seen))
      }
      // What enters the first matrices of the second layer comes from the reduced first layer.
      let name = "model.layers.1.self_attn.q_proj.weight"
      let sequential = try error(name, on: reduced)
      #expect(abs(sequential.found - sequential.expected) < 1e-5)
      #expect(abs(sequential.found - (try error(name, on: dense).expected)) > 1e-5)
    }
  }

  @Test func reducedStorageIsTheSameModel() throws {
    try withTemporaryFolder { folder in
      for family in ["llama_gqa_untied", "gpt2", "mixtral"] {
        let model = ReducedModel(name: family)
        for (label, method, budget) in [
          ("half", "sparsegpt", MatrixBudget.sparsity(0.5)), ("groups", "magnitude", .pattern(keep: 2, of: 4)),
        ] {
          var request = model.request(method, budget)
          let (dense, sparse) = ("\(folder)/\(family).\(label)", "\(folder)/\(family).\(label).sparse")
          let plain = try model.reduce(request, to: dense)
          request.storage = .reduced
          let report = try model.reduce(request, to: sparse)
          #expect(report.bytesBefore == plain.bytesBefore && plain.bytesAfter == plain.bytesBefore)
          for (a, b) in zip(try matrices(of: dense), try matrices(of: sparse)) {
            #expect(a.weight == b.weight, "\(a.matrix.name)")
          }
          let forms = try SafetensorsCheckpoint(at: sparse).parameters.count { $0.reducedForm != nil }
          #expect(forms == Set(report.outcomes.map(\.parameter)).count)
        }
      }
    }
  }

  @Test func zerosThatSaveNothingStayInPlace() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      var request = model.request("magnitude", .sparsity(0.02))
      request.storage = .reduced
      let report = try model.reduce(request, to: "\(folder)/out")
      #expect(report.bytesAfter == report.bytesBefore && report.numbersAfter < report.numbersBefore)
      #expect(try SafetensorsCheckpoint(at: "\(folder)/out").parameters.allSatisfy { $0.reducedForm == nil })
    }
  }

  @Test func factorsAreStoredTurnedWhereTheParameterIs() throws {
    try withTemporaryFolder { folder in
      for family in ["llama_gqa_untied", "gpt2"] {
        let model = ReducedModel(name: family)
        var request = model.request("whitened-svd", .rank(4))
        request.storage = .reduced
        let report = try model.reduce(request, to: "\(folder)/\(family)")
        let (before, after) = (try matrices(of: model.path), try matrices(of: "\(folder)/\(family)"))
        let rows = try rows(of: "\(folder)/\(family)", ReducedModel.text())
        for outcome in report.outcomes {
          let original = try #require(before.first { $0.matrix.name == outcome.name })
          let changed = try #require(after.first { $0.matrix.name == outcome.name })
          #expect(outcome.numbers == 4 * (outcome.outputs + outcome.inputs))
          #expect(outcome.error.error <= (outcome.baseline ?? 0) * 1.0001)
          guard outcome.name.contains(".0.") || outcome.name.contains("h.0."), outcome.site.contains("attn") else {
            continue
          }
          let expected = outputError(original.weight, changed.weight, try #require(rows[outcome.site]))
          #expect(abs(outcome.error.error - expected) < 1e-4, "\(outcome.name)")
        }
      }
    }
  }

  @Test func everyProblemIsToldAtOnce() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      try FileSystem.createFolder("\(folder)/out")
      try FileSystem.write([1], to: "\(folder)/out/mine")
      var request = ReductionRequest(method: "wandaa", goal: .budget(.sparsity(0.5)), source: .nothing)
      request.keep = ["("]
      let found = problems { try model.plan(request, to: "\(folder)/out") }
      #expect(found.contains { $0.code == .outputExists })
      #expect(found.contains { $0.code == .reduction && $0.message.contains("wandaa") })
      #expect(found.contains { $0.message.contains("pattern") })

      request = ReductionRequest(method: "sparsegpt", goal: .budget(.pattern(keep: 3, of: 7)), source: .nothing)
      let later = problems { try model.plan(request, to: "\(folder)/other") }
      #expect(later.contains { $0.message.contains("needs to know what reaches") })
      #expect(later.count { $0.message.contains("groups of 7") } > 1)
    }
  }

  @Test func aCeilingThatCannotBeKeptIsRefused() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      let found = problem {
        try model.plan(model.request("sparsegpt", .sparsity(0.5)), to: "\(folder)/out", memory: 1 << 20)
      }
      #expect(found?.code == .memoryCeiling)
    }
  }

  @Test func theReportTellsEveryMatrix() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "llama_gqa_untied")
      let report = try model.reduce(model.request("sparsegpt", .sparsity(0.5)), to: "\(folder)/out")
      let json = try JSON(parsing: try FileSystem.read("\(folder)/out/report.json"))
      #expect(json["matrices"]?.array?.count == report.outcomes.count)
      let text = String(decoding: try FileSystem.read("\(folder)/out/REPORT.md"), as: UTF8.self)
      for outcome in report.outcomes {
        #expect(text.contains("| \(outcome.name) |"))
        // Updating what stays is better than only removing the least.
        #expect(outcome.error.error < (outcome.baseline ?? 0))
        #expect(outcome.error.kind == .measured)
      }
    }
  }

  private func bytes(of parameter: Parameter) throws -> [UInt8] {
    try parameter.recipe.storedTensors.flatMap { tensor in
      try File.reading(tensor.file).read(tensor.byteCount, at: tensor.offset)
    }
  }

  private func weightBytes(_ folder: String) throws -> [UInt8] {
    try FileSystem.read("\(folder)/model.safetensors")
  }
}
