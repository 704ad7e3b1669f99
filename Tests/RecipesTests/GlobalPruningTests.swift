import EspalierBasics
import EspalierNetworks
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@testable import EspalierRecipes

/// Magnitude pruning with one threshold for a whole model.
@Suite struct GlobalPruningTests {
  private let model = ReducedModel(name: "llama_gqa_untied")

  private func request(
    _ budget: MatrixBudget, _ source: ReductionRequest.Source = .nothing, _ values: [String: ParameterValue] = [:]
  ) -> ReductionRequest {
    var request = ReductionRequest(method: "magnitude", goal: .budget(budget), source: source)
    request.parameters = values.merging(["scope": .word("model")]) { given, _ in given }
    return request
  }

  @Test(arguments: [0.0, 0.37, 0.5, 1]) func whatGoesIsLeastOfAllTogether(sparsity: Double) throws {
    try withTemporaryFolder { folder in
      let report = try model.reduce(request(.sparsity(sparsity)), to: "\(folder)/out")
      let names = Set(report.outcomes.map(\.name))
      let before = try matrices(of: model.path).filter { names.contains($0.matrix.name) }
      let after = try matrices(of: "\(folder)/out").filter { names.contains($0.matrix.name) }
      let all = before.flatMap { $0.weight.elements.map(\.magnitude) }.sorted()
      let count = Int(Double(all.count) * sparsity)
      #expect(after.reduce(0) { $0 + $1.weight.elements.count { $0 == 0 } } == count)
      let cut = try GlobalMagnitudeCut(over: before.count, sparsity: sparsity) { before[$0].weight.elements }
      var shares: Set<Int> = []
      for (index, (old, new)) in zip(before, after).enumerated() {
        #expect(cut.applied(to: old.weight, index: index).elements == new.weight.elements)
        let outcome = try #require(report.outcomes.first { $0.name == old.matrix.name })
        let gone = cut.cuts[index].count
        let percent = Decimals.text(100 * Double(gone) / Double(old.weight.elements.count), 2)
        #expect(outcome.budget == "\(gone) of \(old.weight.elements.count) zero (\(percent) %)")
        #expect(outcome.numbers == old.weight.elements.count - gone && outcome.baseline == nil)
        shares.insert(gone)
      }
      #expect(report.numbersAfter == all.count - count)
      // The matrices of this model do not lose alike.
      #expect(sparsity == 0 || sparsity == 1 || shares.count > 2)
    }
  }

  @Test func bytesDependOnNeitherThreadsNorMemoryNorInterruption() throws {
    try withTemporaryFolder { folder in
      var request = request(.sparsity(0.5), .text(ReducedModel.text(), isSequential: true))
      request.storage = .reduced
      let (first, one, other) = ("\(folder)/first", "\(folder)/one", "\(folder)/other")
      let whole = try model.reduce(request, to: first)
      #expect(whole.outcomes.allSatisfy { $0.rows > 0 && $0.error.kind == .measured })
      try model.reduce(request, to: one, threads: 1, memory: 192 << 20)
      _ = problem {
        try model.reduce(request, to: other) { (_) throws(Problem) in throw Problem(.fileWrite, "stopped") }
      }
      let pieces = ReductionPieces.path(beside: other)
      let files = try FileSystem.list(pieces).filter { $0.hasSuffix(".safetensors") }.sorted()
      for file in files.suffix(3) { try FileSystem.remove("\(pieces)/\(file)") }
      let resumed = try model.reduce(request, to: other, resume: true)
      #expect(resumed.resumed == files.count - 3)
      #expect(resumed.outcomes.map(\.budget) == whole.outcomes.map(\.budget))
      let bytes = try [first, one, other].map { try FileSystem.read("\($0)/model.safetensors") }
      #expect(bytes[0] == bytes[1] && bytes[0] == bytes[2])
    }
  }

  @Test func theModelIsWhatIsReduced() throws {
    try withTemporaryFolder { folder in
      var request = request(.sparsity(0.5))
      request.only = ["mlp"]
      let report = try model.reduce(request, to: "\(folder)/out")
      #expect(report.outcomes.count == 6)
      #expect(report.numbersAfter == report.numbersBefore - report.numbersBefore / 2)
    }
  }

  @Test func whatDoesNotGoWithOneThreshold() throws {
    try withTemporaryFolder { folder in
      func refusal(_ request: ReductionRequest) -> Problem? {
        problem { try model.plan(request, to: "\(folder)/out") }
      }
      let alone = "one threshold for the whole model deals a sparsity out itself"
      #expect(refusal(request(.pattern(keep: 2, of: 4)))?.message == alone)
      #expect(refusal(request(.sparsity(0.5), .nothing, ["structure": .word("row")]))?.message.contains("row") == true)
      var allotted = request(.sparsity(0.5))
      allotted.goal = .allotted([ExactString("model.layers.0.mlp.up_proj.weight"): .sparsity(0.5)])
      #expect(refusal(allotted)?.message == alone)
      var wanda = model.request("wanda", .sparsity(0.5))
      wanda.parameters = ["scope": .word("model")]
      #expect(refusal(wanda)?.code == .reduction)

      // Whatever is dealt out from levels of single matrices.
      let wishes: [(inout BudgetWords) -> Void] = [
        { $0.size = "100K" }, { $0.share = 0.5 }, { $0.maxError = 0.1 },
        {
          $0.sparsity = 0.5
          $0.allocate = true
        },
      ]
      for change in wishes {
        var words = BudgetWords()
        change(&words)
        let wish = words.wish(makesFactors: false)
        var request = request(.sparsity(0.5))
        request.goal = wish.provisionalGoal(of: "magnitude")
        request.storage = .reduced
        let (plan, pool) = try model.plan(request, to: "\(folder)/out")
        #expect(problem { try wish.resolve(plan, workers: pool, listener: SilentListener()) }?.message == alone)
        #expect(
          problem {
            try SensitivityRun.measure(plan, levels: [.sparsity(0.5)], workers: pool, listener: SilentListener())
          }?
          .message == alone)
      }
    }
  }
}
