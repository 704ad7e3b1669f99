import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import EspalierRestructuring
import NetworkTestSupport
import TestSupport
import Testing

/// Several models that are brought into one order none of them sets.
@Suite struct MeanMatchingTests {
  /// Copies of one model in three orders end in one order: their mean is each of them, to the last bit.
  @Test(
    arguments: ["llama_gqa_untied", "mixtral", "phi3", "gpt2", "mamba2", "bert_mlm", "t5_gated_untied", "vit_cls"],
    AlignmentOptions.Weighing.allCases)
  func copiesInSeveralOrdersEndInOne(name: String, weighing: AlignmentOptions.Weighing) throws {
    let model = try GoldenModel(Golden(name))
    let copies: [any Checkpoint] = [
      try model.changed(try AlignmentTests.planted(in: model)), model.checkpoint,
      try model.changed(try AlignmentTests.planted(in: model, seed: 97)),
    ]
    var options = AlignmentOptions()
    options.weighing = weighing
    let alignments = try MeanMatching(copies, of: model.family, options: options, workers: Golden.workers).align()
    let files = FilePool()
    let aligned = try zip(copies, alignments).map { try $1.applied(to: $0, of: model.family).parametersByName() }
    for (name, parameter) in aligned[0] {
      let expected = try parameter.values(files: files)
      for other in aligned.dropFirst() {
        let values = try #require(other[name]).values(files: files)
        #expect(values == expected, "\(name)")
      }
    }
    #expect(alignments.allSatisfy { $0.after.cosine > 1 - 1e-6 && $0.before.cosine < 0.999 })
  }

  /// Of models that have little to do with each other: the seed tells the result, and no model ends farther from the
  /// others than it was.
  @Test func theResultIsNearerAndRepeatsItself() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    try withTemporaryFolder { folder in
      var models: [any Checkpoint] = [model.checkpoint]
      for seed in [3, 8] as [UInt64] {
        try FileSystem.createFolder("\(folder)/\(seed)")
        models.append(try AlignmentTests.noise(like: model, in: "\(folder)/\(seed)", seed: seed))
      }
      func aligned() throws -> [Alignment] {
        var options = AlignmentOptions()
        (options.weighing, options.seed) = (.plain, 4)
        return try MeanMatching(models, of: model.family, options: options, workers: Golden.workers).align()
      }
      let (first, second) = (try aligned(), try aligned())
      #expect(first.map(\.change) == second.map(\.change))
      #expect(first.allSatisfy { $0.after.both > $0.before.both && $0.sweeps < MeanMatching.rounds })
    }
  }

  @Test func oneModelHasNoOthers() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    do {
      _ = try MeanMatching([model.checkpoint], of: model.family, workers: Golden.workers)
      Issue.record("was taken")
    } catch {
      #expect(error.all.map(\.message) == ["one model has no others to be aligned with"])
    }
  }
}
