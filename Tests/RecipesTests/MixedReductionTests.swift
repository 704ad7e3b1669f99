import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@testable import EspalierRecipes

/// LoRAP on whole models.
@Suite struct MixedReductionTests {
  private let model = ReducedModel(name: "llama_gqa_untied")

  private func request(_ share: Double, isSequential: Bool = false) -> ReductionRequest {
    model.request("lorap", .parameters(share), isSequential: isSequential)
  }

  /// What reaches a site, in sums.
  private func statistics(_ rows: [[Float]]) -> SiteStatistics {
    var statistics = SiteStatistics(width: rows[0].count)
    statistics.count = rows.count
    for row in rows { for (j, x) in row.enumerated() { statistics.squareSums[j] += Double(x) * Double(x) } }
    return statistics
  }

  @Test(arguments: [0.0, 0.25]) func channelsAreThoseOfTheScores(leastImportant: Double) throws {
    try withTemporaryFolder { folder in
      var request = request(0.6)
      request.parameters = ["least_important": .number(leastImportant)]
      try model.reduce(request, to: "\(folder)/out")
      let (before, after) = (try matrices(of: model.path), try matrices(of: "\(folder)/out"))
      let rows = try rows(of: model.path, ReducedModel.text())
      for layer in 0..<2 {
        func named(_ part: String, in list: [(matrix: NetworkMatrix, weight: Matrix<Float>)]) throws
          -> (matrix: NetworkMatrix, weight: Matrix<Float>)
        { try #require(list.first { $0.matrix.name == "model.layers.\(layer).mlp.\(part)_proj.weight" }) }
        let (gate, up) = (try named("gate", in: before), try named("up", in: before))
        let down = try named("down", in: before)
        let block = try FeedForwardBlock(gate: gate.weight, up: up.weight, down: down.weight)
        let scores = try Lorap.channelScores(
          block, inputs: statistics(try #require(rows[up.matrix.site])),
          neurons: statistics(try #require(rows[down.matrix.site])))
        let kept = try Lorap.channels(
          scores, keep: Int(0.6 * Double(block.neurons)), leastImportant: leastImportant)
        let masked = block.masked(keeping: kept)
        #expect(try named("gate", in: after).weight.elements == masked.gate?.elements)
        #expect(try named("up", in: after).weight.elements == masked.up.elements)
        #expect(try named("down", in: after).weight.elements == masked.down.elements)
      }
    }
  }

  @Test func attentionKeepsItsShareAndRanksGoWhereTheyKeepMost() throws {
    try withTemporaryFolder { folder in
      func errors(_ ranks: String) throws -> (squares: Double, numbers: Int, all: Int) {
        var request = request(0.5)
        request.storage = .reduced
        request.parameters = ["ranks": .word(ranks)]
        let report = try model.reduce(request, to: "\(folder)/\(ranks)")
        let attention = report.outcomes.filter { $0.name.contains("self_attn") }
        #expect(attention.count == 8 && attention.allSatisfy { $0.budget.hasPrefix(ranks == "uniform" ? "p" : "rank") })
        let others = report.outcomes.filter { $0.name.contains("mlp") }
        #expect(others.count == 6 && others.allSatisfy { $0.budget.hasPrefix("channels") })
        for outcome in report.outcomes { #expect(outcome.rows > 0 && outcome.error.kind == .measured) }
        return (
          attention.reduce(0) { $0 + $1.error.error * $1.error.error }, attention.reduce(0) { $0 + $1.numbers },
          attention.reduce(0) { $0 + $1.outputs * $1.inputs }
        )
      }
      let (allocated, uniform) = (try errors("allocated"), try errors("uniform"))
      #expect(2 * allocated.numbers <= allocated.all && 2 * uniform.numbers <= uniform.all)
      #expect(allocated.squares < uniform.squares)
    }
  }

  @Test func bytesDependOnNeitherThreadsNorInterruption() throws {
    try withTemporaryFolder { folder in
      var request = request(0.6, isSequential: true)
      request.storage = .reduced
      let (first, one, other) = ("\(folder)/first", "\(folder)/one", "\(folder)/other")
      try model.reduce(request, to: first)
      try model.reduce(request, to: one, threads: 1)
      _ = problem {
        try model.reduce(request, to: other) { (_) throws(Problem) in throw Problem(.fileWrite, "stopped") }
      }
      // A block of which a piece is missing is reduced again as a whole.
      let pieces = ReductionPieces.path(beside: other)
      let files = try FileSystem.list(pieces).filter { $0.hasSuffix(".safetensors") }.sorted()
      try FileSystem.remove("\(pieces)/\(files[5])")
      let resumed = try model.reduce(request, to: other, resume: true)
      #expect(resumed.resumed == files.count - 7)
      let bytes = try [first, one, other].map { try FileSystem.read("\($0)/model.safetensors") }
      #expect(bytes[0] == bytes[1] && bytes[0] == bytes[2])
    }
  }

  @Test func whatItCannotTreatIsRefused() throws {
    try withTemporaryFolder { folder in
      func refusal(_ name: String, _ change: (inout ReductionRequest) -> Void) -> Problem? {
        let model = ReducedModel(name: name)
        var request = model.request("lorap", .parameters(0.6))
        change(&request)
        return problem { try model.plan(request, to: "\(folder)/out") }
      }
      #expect(refusal("mixtral") { _ in }?.message.contains("one feed-forward sub-layer a block") == true)
      #expect(refusal("phi3") { _ in }?.message.contains("gate and up apart") == true)
      #expect(refusal("llama_gqa_untied") { $0.keep = ["up_proj"] }?.message.contains("whole") == true)
      #expect(refusal("llama_gqa_untied") { $0.goal = .budget(.rank(2)) }?.message.contains("one share") == true)
      #expect(refusal("llama_gqa_untied") { $0.source = .nothing }?.message.contains("needs to know") == true)
      #expect(
        refusal("llama_gqa_untied") { $0.parameters = ["least_important": .number(2)] }?.code == .reduction)
      #expect(refusal("llama_gqa_untied") { $0.keep = ["mlp"] } == nil)
    }
  }
}
