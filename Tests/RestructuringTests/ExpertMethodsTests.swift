import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierRestructuring
import NetworkTestSupport
import TestSupport
import Testing

/// Experts that leave by every score, and experts that merge.
@Suite struct ExpertMethodsTests {
  private func kept(_ result: Restructured) -> Int? {
    (result.checkpoint.config?["num_local_experts"] ?? result.checkpoint.config?["num_experts"])?.integer
  }

  @Test(arguments: ["mixtral", "qwen3_moe"])
  func everyRowGoesToAsManyExpertsAsAreChosen(name: String) throws {
    let model = try GoldenModel(Golden(name))
    let subject = try TokenSubject(model.checkpoint, of: model.family)
    let score = try UnitScores.score(named: "expert-use")
    let chosen = try #require(model.checkpoint.config?["num_experts_per_tok"]?.integer)
    for group in UnitGroup.groups(along: "experts", of: model.description, in: model.checkpoint) {
      let uses = try score.scores(of: group, in: subject, files: FilePool())
      #expect(uses.count == group.count)
      #expect(uses.reduce(0, +) == Double(48 * chosen))
    }
    let result = try restructured(
      subject, by: "experts", to: try parameterCount(model.checkpoint, of: model.family) - 1)
    #expect(kept(result) == (name == "mixtral" ? 3 : 5))
    #expect(try subject.divergence(of: result.checkpoint, named: "").isFinite)
  }

  @Test func theSmallestLeaves() throws {
    let model = try GoldenModel(Golden("mixtral"))
    let small = try model.checkpoint.replacing { parameter in
      guard parameter.name.contains("experts.2.") else { return nil }
      return .combined([WeightedRecipe(weight: 0.25, recipe: parameter.recipe)], constant: 0, shape: parameter.shape)
    }
    let subject = try TokenSubject(small, of: model.family)
    let result = try restructured(
      subject, by: "experts", ["score": .word("expert-norm")],
      to: try parameterCount(small, of: model.family) - 1)
    #expect(result.steps.allSatisfy { $0.text.hasSuffix("3 of 4 stay, without [2]") })
    // Expert 3 is third now, with its row of the router.
    let name = "model.layers.0.block_sparse_moe"
    #expect(try result.checkpoint.values("\(name).experts.2.w1.weight") == small.values("\(name).experts.3.w1.weight"))
    #expect(
      try result.checkpoint.values("\(name).gate.weight").suffix(48) == small.values("\(name).gate.weight").suffix(48))
  }

  @Test func whatTuningLengthenedStays() throws {
    let model = try GoldenModel(Golden("mixtral"))
    // Tuning lengthened all rows of the router but the second, which it turned round.
    let tuned = try model.checkpoint.replacing { parameter in
      guard parameter.name.hasSuffix("gate.weight") else { return nil }
      let rows = (0..<4).map { row in
        StorageRecipe.combined(
          [
            WeightedRecipe(
              weight: row == 1 ? -1 : 1.5,
              recipe: .gathered([.rows(source: 0, first: row, count: 1)], sources: [parameter.recipe], shape: [1, 48]))
          ], constant: 0, shape: [1, 48])
      }
      return .gathered((0..<4).map { .rows(source: $0, first: 0, count: 1) }, sources: rows, shape: [4, 48])
    }
    let subject = try TokenSubject(tuned, of: model.family, reference: model.checkpoint)
    let goal = try parameterCount(tuned, of: model.family) - 1
    let result = try restructured(subject, by: "experts", ["score": .word("router-change")], to: goal)
    #expect(result.steps.allSatisfy { $0.text.hasSuffix("without [1]") })
    let alone = try TokenSubject(tuned, of: model.family)
    #expect(
      problem { try restructured(alone, by: "experts", ["score": .word("router-change")], to: goal) }?.remedy
        == "Give --base.")
  }

  @Test func whatIsMissedLeastLeaves() throws {
    let model = try GoldenModel(Golden("mixtral"))
    let subject = try TokenSubject(model.checkpoint, of: model.family)
    let whole = try parameterCount(model.checkpoint, of: model.family)
    var best = (text: "", divergence: Double.infinity)
    for layer in 0..<2 {
      for expert in 0..<4 {
        let left = try model.changed(
          StructuralChange(choices: ["text/\(layer)/experts": AxisChoice((0..<4).filter { $0 != expert })]))
        let divergence = try subject.divergence(of: left, named: "")
        if divergence < best.divergence { best = ("expert \(expert) of `text/\(layer)/experts` leaves", divergence) }
      }
    }
    let result = try restructured(subject, by: "experts", ["score": .word("divergence")], to: whole - 1)
    #expect(result.steps.map(\.text) == [best.text])
    // At least as many stay as are chosen.
    let error = problem { try restructured(subject, by: "experts", ["score": .word("divergence")], to: 1) }
    #expect(error?.message.contains("by experts alone") == true)
  }

  @Test(arguments: ["mean", "use"])
  func likeExpertsMerge(merging: String) throws {
    let model = try GoldenModel(Golden("mixtral"))
    let byName = model.checkpoint.parametersByName()
    // Experts 1 and 3 are the same but for their size, by which 3 leaves.
    let alike = try model.checkpoint.replacing { parameter in
      guard parameter.name.contains("experts.3."),
        let other = byName[ExactString(parameter.name.replacing("experts.3.", with: "experts.1."))]
      else { return nil }
      return .combined([WeightedRecipe(weight: 0.5, recipe: other.recipe)], constant: 0, shape: other.shape)
    }
    let subject = try TokenSubject(alike, of: model.family)
    let result = try restructured(
      subject, by: "experts", ["score": .word("expert-norm"), "merge": .word(merging)],
      to: try parameterCount(alike, of: model.family) - 1)
    let merges = result.steps.filter { $0.text.contains("merges") }
    #expect(merges.map(\.text) == (0..<2).map { "expert 3 of `text/\($0)/experts` merges into 1" })
    #expect(merges.allSatisfy { abs($0.figures[0].value - 1) <= 1e-6 })
    let name = "model.layers.0.block_sparse_moe.experts.1.w2.weight"
    let (before, after) = (try alike.values(name), try result.checkpoint.values(name))
    if merging == "mean" {
      #expect(zip(before, after).allSatisfy { abs(0.75 * $0 - $1) <= 1e-6 })
    } else {
      #expect(after != before)
    }
  }

  @Test func onlyModelsWithExpertsLoseThem() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let subject = try TokenSubject(model.checkpoint, of: model.family)
    #expect(problem { try restructured(subject, by: "experts", to: 1) }?.message == "a llama has no experts")
  }
}
