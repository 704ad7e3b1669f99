import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@testable import EspalierRecipes

/// LoRAP and FFSplit on whole models.
@Suite struct BlockReductionTests {
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

  /// Reduces by two threads, by one, and with an interruption after which piece `missing` is gone; all come to the same
  /// bytes.
  private func reduceInThreeWays(
    _ request: ReductionRequest, missing: Int
  ) throws -> (files: Int, resumed: Int) {
    try withTemporaryFolder { folder in
      let (first, one, other) = ("\(folder)/first", "\(folder)/one", "\(folder)/other")
      try model.reduce(request, to: first)
      try model.reduce(request, to: one, threads: 1)
      _ = problem {
        try model.reduce(request, to: other) { (_) throws(Problem) in throw Problem(.fileWrite, "stopped") }
      }
      let pieces = ReductionPieces.path(beside: other)
      let files = try FileSystem.list(pieces).filter { $0.hasSuffix(".safetensors") }.sorted()
      try FileSystem.remove("\(pieces)/\(files[missing])")
      let resumed = try model.reduce(request, to: other, resume: true).resumed
      let bytes = try [first, one, other].map { try FileSystem.read("\($0)/model.safetensors") }
      #expect(bytes[0] == bytes[1] && bytes[0] == bytes[2])
      return (files.count, resumed)
    }
  }

  @Test func bytesDependOnNeitherThreadsNorInterruption() throws {
    var request = request(0.6, isSequential: true)
    request.storage = .reduced
    // A block of which a piece is missing is reduced again as a whole.
    let found = try reduceInThreeWays(request, missing: 5)
    #expect(found.resumed == found.files - 7)
  }

  // MARK: - FFSplit

  private func split(_ share: Double, isSequential: Bool = false, _ values: [String: ParameterValue])
    -> ReductionRequest
  {
    var request = model.request("ffsplit", .parameters(share), isSequential: isSequential)
    request.parameters = values
    return request
  }

  @Test(arguments: ["activation", "contribution"]) func heavyNeuronsAreThoseOfTheScores(score: String) throws {
    try withTemporaryFolder { folder in
      let report = try model.reduce(
        split(0.75, ["heavy": .number(0.25), "score": .word(score)]), to: "\(folder)/out")
      #expect(report.outcomes.count == 6 && report.outcomes.allSatisfy { $0.name.contains("mlp") })
      let (before, after) = (try matrices(of: model.path), try matrices(of: "\(folder)/out"))
      let rows = try rows(of: model.path, ReducedModel.text())
      for (old, new) in zip(before, after) where !old.matrix.name.contains("mlp") {
        #expect(old.weight.elements == new.weight.elements, "\(old.matrix.name)")
      }
      for layer in 0..<2 {
        func named(_ part: String, in list: [(matrix: NetworkMatrix, weight: Matrix<Float>)]) throws
          -> (matrix: NetworkMatrix, weight: Matrix<Float>)
        { try #require(list.first { $0.matrix.name == "model.layers.\(layer).mlp.\(part)_proj.weight" }) }
        let down = try named("down", in: before)
        let neurons = down.weight.columns
        let reached = statistics(try #require(rows[down.matrix.site]))
        let scores = (0..<neurons).map { i in
          let column = (0..<down.weight.rows).reduce(0.0) {
            $0 + Double(down.weight[$1, i]) * Double(down.weight[$1, i])
          }
          return reached.rootMeanSquares[i] * (score == "contribution" ? column.squareRoot() : 1)
        }
        let heavy = Set((0..<neurons).sorted { scores[$0] > scores[$1] }.prefix(neurons / 4))
        for part in ["gate", "up", "down"] {
          let (old, new) = (try named(part, in: before).weight, try named(part, in: after).weight)
          var rest: [Double] = []
          for i in 0..<neurons {
            let width = part == "down" ? old.rows : old.columns
            let pair = (0..<width).map { k in
              part == "down" ? (old[k, i], new[k, i]) : (old[i, k], new[i, k])
            }
            #expect(pair.allSatisfy { $0.0 == $0.1 } == heavy.contains(i), "\(part) \(i)")
            if !heavy.contains(i) { rest += pair.map { Double($0.1) } }
          }
          // The others have the rank that the report tells, and together with the heavy ones they are paid for.
          let width = rest.count / (neurons - heavy.count)
          let light = try Matrix(rows: neurons - heavy.count, columns: width, elements: rest)
          let values = try LinearAlgebra.singularValues(light)
          let rank = values.count { $0 > 1e-4 * values[0] }
          let outcome = try #require(report.outcomes.first { $0.name.hasSuffix("\(layer).mlp.\(part)_proj.weight") })
          #expect(outcome.budget == "heavy \(heavy.count) of \(neurons), others rank \(rank)")
          #expect(outcome.numbers == heavy.count * width + rank * (neurons - heavy.count + width))
          let all = Double(neurons * width)
          #expect(Double(outcome.numbers) <= 0.75 * all, "\(outcome.numbers)")
          #expect(Double(outcome.numbers + neurons - heavy.count + width) > 0.75 * all)
          #expect(outcome.rows > 0 && outcome.error.kind == .measured && outcome.baseline != nil)
        }
      }
    }
  }

  @Test func theBytesOfASplitDependOnNeitherThreadsNorInterruption() throws {
    var request = split(0.75, isSequential: true, ["light": .word("awsvd")])
    request.storage = .reduced
    let found = try reduceInThreeWays(request, missing: 4)
    #expect(found.files == 6 && found.resumed == 3)
  }

  @Test func splitsThatCannotBe() throws {
    try withTemporaryFolder { folder in
      func refusal(
        _ share: Double, _ values: [String: ParameterValue], _ change: (inout ReductionRequest) -> Void = { _ in }
      ) -> Problem? {
        var request = split(share, values)
        change(&request)
        return problem { try model.plan(request, to: "\(folder)/out") }
      }
      #expect(refusal(0.5, ["heavy": .number(0.5)])?.message.contains("takes the whole budget of 0.5") == true)
      #expect(refusal(0.5, ["light": .word("cur")])?.code == .reduction)
      #expect(refusal(0.5, [:]) { $0.goal = .budget(.rank(2)) }?.message.contains("one share") == true)
      #expect(refusal(0.5, [:]) { $0.goal = .budget(.parameters(1.5)) }?.code == .reduction)
      #expect(refusal(0.5, [:]) { $0.keep = ["down_proj"] }?.message.contains("whole") == true)
      #expect(refusal(0.5, [:]) { $0.only = ["self_attn"] }?.message.contains("no matrix is left") == true)
      // What the light part needs is asked for.
      #expect(refusal(0.5, [:]) { $0.momentLimit = 4 }?.message.contains("whole second moment") == true)
      #expect(refusal(0.5, ["light": .word("svd")]) { $0.momentLimit = 4 } == nil)
      let thin = problem { try model.reduce(split(0.26, ["heavy": .number(0.25)]), to: "\(folder)/out") }
      #expect(thin?.message.contains("leave no rank for the others") == true && thin?.context.tensor != nil)
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
      #expect(refusal("llama_gqa_untied") { $0.keep = ["gate_proj"] }?.message.contains("0 matrices gate of 1") == true)
      #expect(refusal("llama_gqa_untied") { $0.keep = ["up_proj"] }?.message.contains("whole") == true)
      #expect(refusal("llama_gqa_untied") { $0.goal = .budget(.rank(2)) }?.message.contains("one share") == true)
      #expect(refusal("llama_gqa_untied") { $0.source = .nothing }?.message.contains("needs to know") == true)
      #expect(
        refusal("llama_gqa_untied") { $0.parameters = ["least_important": .number(2)] }?.code == .reduction)
      #expect(refusal("llama_gqa_untied") { $0.keep = ["mlp"] } == nil)
    }
  }
}
