import EspalierBasics
import EspalierCalibration
import EspalierCheckpoints
import EspalierExecution
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@testable import EspalierRecipes

/// What a reduction refuses or warns of, and in which words.
@Suite struct ReductionRefusalTests {
  private let model = ReducedModel(name: "llama_gqa_untied")

  /// Statistics of a model as `calibrate` writes them.
  private func writeStatistics(of model: ReducedModel, to path: String, momentLimit: Int) throws {
    let pool = WorkerPool(threads: 2)
    let checkpoint = try model.checkpoint()
    let network = try Network(checkpoint, residency: .streamed, workers: pool)
    let text = ReducedModel.text()
    let calibration = try Calibration(
      network, sequences: text.windows.sequences, memory: 1 << 30, momentLimit: momentLimit, workers: pool)
    var record = text.record(mode: .exact, momentLimit: momentLimit)
    record.model = try ModelIdentity(of: checkpoint, workers: pool)
    _ = try calibration.run(record, to: path, resume: false, force: false, listener: SilentListener())
  }

  @Test func theSameOfManyMatricesIsToldOnce() throws {
    try withTemporaryFolder { folder in
      let request = ReductionRequest(method: "magnitude", goal: .budget(.pattern(keep: 3, of: 7)), source: .nothing)
      let found = problems { try model.plan(request, to: "\(folder)/out") }
      let widths = Set(try matrices(of: model.path).filter { $0.matrix.layer != nil }.map(\.matrix.inputs))
      #expect(found.count == widths.count && found.allSatisfy { $0.message.contains("groups of 7") })
      #expect(found.contains { $0.message.hasSuffix("others are like it)") && $0.context.tensor != nil })
    }
  }

  @Test func aHeadThatIsTheEmbeddingIsNamed() throws {
    try withTemporaryFolder { folder in
      for (name, isTied) in [("qwen2_tied_bf16", true), ("llama_gqa_untied", false)] {
        let model = ReducedModel(name: name)
        var request = model.request("magnitude", .sparsity(0.5))
        request.only = ["lm_head"]
        let (plan, _) = try model.plan(request, to: "\(folder)/out")
        #expect(plan.warnings.contains { $0.message.contains("the embedding too") } == isTied)
      }
    }
  }

  @Test func aCeilingBelowTheLargestMatrixIsRefusedWithoutTextToo() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(path: "\(packageFolder)/Models/expert-arithmetic")
      let request = ReductionRequest(method: "magnitude", goal: .budget(.sparsity(0.5)), source: .nothing)
      let (plan, _) = try model.plan(request, to: "\(folder)/out")
      _ = try model.plan(request, to: "\(folder)/out", memory: plan.peakBytes)
      let found = problem { try model.plan(request, to: "\(folder)/out", memory: plan.peakBytes - 1) }
      #expect(found?.code == .memoryCeiling && found?.message.contains("the largest matrix") == true)
    }
  }

  @Test func whatNeedsABiasIsRefused() throws {
    try withTemporaryFolder { folder in
      var request = model.request("feature-pca", .rank(4))
      request.parameters = ["center": .flag(true)]
      let found = problem { try model.reduce(request, to: "\(folder)/out") }
      #expect(found?.code == .reduction && found?.message.contains("needs a bias") == true)
      #expect(FileSystem.kind("\(folder)/out") == nil)
    }
  }

  @Test func factorsOfStackedMatricesAreRefusedByName() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(name: "qwen3_moe")
      var request = model.request("svd", .rank(2))
      request.storage = .reduced
      let found = problems { try model.plan(request, to: "\(folder)/out") }
      let stacked = Set(try matrices(of: model.path).filter { $0.matrix.rows != nil }.map(\.matrix.parameter.name))
      #expect(stacked.isEmpty == found.isEmpty)
      for problem in found { #expect(problem.message.contains("holds several matrices")) }
      request.storage = .dense
      #expect(problems { try model.plan(request, to: "\(folder)/out") }.isEmpty)
    }
  }

  @Test func aMomentThatIsCutIsRefusedWhereItIsNeededWhole() throws {
    try withTemporaryFolder { folder in
      var request = model.request("sparsegpt", .sparsity(0.5))
      request.momentLimit = 8
      let text = problems { try model.plan(request, to: "\(folder)/out") }
      #expect(!text.isEmpty && text.allSatisfy { $0.message.contains("needs the whole second moment") })
      try writeStatistics(of: model, to: "\(folder)/s", momentLimit: 8)
      (request.source, request.momentLimit) = (.file("\(folder)/s"), nil)
      let file = problems { try model.plan(request, to: "\(folder)/out") }
      #expect(!file.isEmpty && file.allSatisfy { $0.message.contains("needs the whole second moment") })
      // Squares along the diagonal are enough for some.
      request.method = "whitened-svd"
      request.goal = .budget(.rank(4))
      try model.reduce(request, to: "\(folder)/out")
    }
  }

  @Test func statisticsOfAnotherModelAreRefused() throws {
    try withTemporaryFolder { folder in
      try writeStatistics(of: model, to: "\(folder)/s", momentLimit: 8192)
      // The same sites, other weights.
      let other = "\(folder)/other"
      try model.reduce(model.request("magnitude", .sparsity(0.1)), to: other)
      let changed = ReducedModel(path: other)
      var request = changed.request("wanda", .sparsity(0.5))
      request.source = .file("\(folder)/s")
      let (plan, pool) = try changed.plan(request, to: "\(folder)/out")
      let measured = problem {
        try SensitivityRun.measure(plan, levels: [.sparsity(0.5)], workers: pool, listener: SilentListener())
      }
      let reduced = problem { try ReductionRun.execute(plan, workers: pool, listener: SilentListener()) }
      #expect(measured != nil && measured == reduced)
      #expect(measured?.message.contains("model") == true)
      #expect(FileSystem.kind("\(folder)/out") == nil)
    }
  }

  @Test func twoRunsDoNotPrepareOneOutput() throws {
    try withTemporaryFolder { folder in
      let first = try ReductionPieces(
        beside: "\(folder)/out", fingerprint: ["run": 1], policy: .init(resume: false, force: false))
      let second = problem {
        try ReductionPieces(
          beside: "\(folder)/out", fingerprint: ["run": 1], policy: .init(resume: true, force: false))
      }
      #expect(second?.code == .fileLocked)
      try first.remove()
      #expect(FileSystem.kind(ReductionPieces.path(beside: "\(folder)/out")) == nil)
    }
  }

  @Test(arguments: [
    (["link": ParameterValue.word("outputs")], StatisticsNeed.moment),
    (["importance": .word("activation")], .columns), ([:], .nothing),
  ]) func whatCURNeedsDependsOnItsParameters(_ parameters: [String: ParameterValue], need: StatisticsNeed) throws {
    try withTemporaryFolder { folder in
      #expect(ReductionMethods.needs(of: "cur", parameters) == need)
      var request = model.request("cur", .parameters(0.6), isSequential: false)
      request.parameters = parameters
      let report = try model.reduce(request, to: "\(folder)/out")
      let (before, after) = (try matrices(of: model.path), try matrices(of: "\(folder)/out"))
      let rows = try rows(of: model.path, ReducedModel.text())
      for outcome in report.outcomes {
        let original = try #require(before.first { $0.matrix.name == outcome.name })
        let changed = try #require(after.first { $0.matrix.name == outcome.name })
        let expected = outputError(original.weight, changed.weight, try #require(rows[outcome.site]))
        #expect(abs(outcome.error.error - expected) <= 1e-5 + 1e-4 * expected, "\(outcome.name)")
      }
      request.source = .nothing
      let refused = problem { try model.plan(request, to: "\(folder)/other") }
      #expect((refused?.message.contains("needs to know what reaches") == true) == (need > .nothing))
    }
  }
}
