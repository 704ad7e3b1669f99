import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics
import EspalierRestructuring
import NetworkTestSupport
import TestSupport
import Testing

/// A reordered copy of a model is found out; what is found changes no output.
@Suite struct AlignmentTests {
  /// Every axis that matching may move is moved by chance, heads and experts each in their own way; matching gives back
  /// every weight in its place.
  @Test(arguments: Golden.names.map(Golden.init), AlignmentOptions.Weighing.allCases)
  func aPlantedOrderIsFound(golden: Golden, weighing: AlignmentOptions.Weighing) throws {
    let model = try GoldenModel(golden)
    let planted = try model.changed(try Self.planted(in: model))
    var options = AlignmentOptions()
    options.weighing = weighing
    let matching = try WeightMatching(
      planted, to: model.checkpoint, of: model.family, options: options, workers: Golden.workers)
    let alignment = try matching.align()
    let aligned = try alignment.applied(to: planted, of: model.family)
    let files = FilePool()
    let expected = model.checkpoint.parametersByName()
    for parameter in aligned.parameters {
      guard let original = expected[ExactString(parameter.name)] else { continue }
      let isSame = try parameter.values(files: files) == original.values(files: files)
      #expect(isSame, "\(parameter.name)")
    }
    #expect(alignment.after.cosine > 1 - 1e-9)
    #expect(alignment.before.cosine < 0.999)
    #expect(alignment.axes.contains { $0.moved > 0 })
  }

  /// Of models that have nothing to do with each other: whatever order is found, the model computes what it did.
  @Test(arguments: ["llama_gqa_untied", "mixtral", "phi3", "mamba2", "t5_gated_untied", "gpt2"])
  func anAlignedModelComputesWhatItDid(name: String) throws {
    let model = try GoldenModel(Golden(name))
    try withTemporaryFolder { folder in
      let other = try Self.noise(like: model, in: folder, seed: 5)
      let matching = try WeightMatching(model.checkpoint, to: other, of: model.family, workers: Golden.workers)
      let alignment = try matching.align()
      #expect(alignment.after.agreement > alignment.before.agreement)
      let reference = try model.outputs(of: model.checkpoint)
      let outputs = try model.outputs(of: try alignment.applied(to: model.checkpoint, of: model.family))
      for expected in reference where expected.name.contains("logits") {
        let found = try #require(outputs.first { $0.name == expected.name })
        #expect(distance(expected, found) <= 1e-5)
      }
    }
  }

  /// No exchange of two entries of any axis brings the models nearer: what coordinate descent promises.
  @Test func noExchangeIsBetter() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    try withTemporaryFolder { folder in
      let other = try Self.noise(like: model, in: folder, seed: 11)
      var options = AlignmentOptions()
      options.weighing = .plain
      let alignment = try WeightMatching(
        model.checkpoint, to: other, of: model.family, options: options, workers: Golden.workers
      ).align()
      #expect(alignment.after.agreement == alignment.after.both)
      let best = try Self.innerProduct(try alignment.applied(to: model.checkpoint, of: model.family), other)
      #expect(abs(best - alignment.after.both) <= 1e-6 * abs(best))
      let hidden = try #require(model.axes.first { $0.name == "hidden" }?.instances.first)
      let order = alignment.change.choices[hidden.instance]?.lists[0] ?? Array(0..<hidden.size)
      for (i, j) in [(0, 1), (3, 17), (12, 40), (22, 23), (5, 47)] {
        var change = alignment.change
        var exchanged = order
        exchanged.swapAt(i, j)
        change.choices[hidden.instance] = AxisChoice(exchanged)
        #expect(try Self.innerProduct(try model.changed(change), other) <= best * (1 + 1e-9))
      }
    }
  }

  @Test func restartsAreNeverWorseAndRepeatThemselves() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    try withTemporaryFolder { folder in
      let other = try Self.noise(like: model, in: folder, seed: 2)
      func aligned(_ restarts: Int) throws -> Alignment {
        var options = AlignmentOptions()
        options.restarts = restarts
        return try WeightMatching(
          model.checkpoint, to: other, of: model.family, options: options, workers: Golden.workers
        ).align()
      }
      let (once, often) = (try aligned(0), try aligned(3))
      #expect(often.after.agreement >= once.after.agreement)
      #expect(try aligned(3).change == often.change)
    }
  }

  @Test func axesThatAreKeptStay() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let planted = try model.changed(try Self.planted(in: model))
    var options = AlignmentOptions()
    options.keeping = ["hidden", "inner"]
    let alignment = try WeightMatching(
      planted, to: model.checkpoint, of: model.family, options: options, workers: Golden.workers
    ).align()
    #expect(!alignment.change.choices.keys.contains { $0.hasSuffix("hidden") || $0.hasSuffix("inner") })
  }

  @Test func anAxisThatIsNotThereCannotBeKept() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    var options = AlignmentOptions()
    options.keeping = ["iner"]
    do {
      _ = try WeightMatching(
        model.checkpoint, to: model.checkpoint, of: model.family, options: options, workers: Golden.workers)
      Issue.record("was taken")
    } catch {
      #expect(error.all.map(\.message) == ["the models have no axis `iner` that could change its order"])
      #expect(error.all.first?.remedy?.contains("inner") == true)
    }
  }

  @Test func modelsOfOtherSizesAreRefused() throws {
    let (first, second) = (try GoldenModel(Golden("llama_gqa_untied")), try GoldenModel(Golden("llama_tied_mqa")))
    do {
      _ = try WeightMatching(
        first.checkpoint, to: second.checkpoint, of: first.family, workers: Golden.workers)
      Issue.record("was taken")
    } catch {
      #expect(error.all.allSatisfy { $0.code == .restructuring && $0.remedy != nil })
      let told = error.all.map(\.message)
      #expect(told.count > 1, "everything at once: \(told)")
      #expect(told.allSatisfy { $0.hasPrefix("the models cannot be aligned: `") }, "\(told)")
    }
  }

  /// Channels that do the same are found by what they do: activations of a reordered copy are those of the original.
  @Test(arguments: ["llama_gqa_untied", "gpt2", "qwen3"])
  func activationsFindAPlantedOrder(name: String) throws {
    let model = try GoldenModel(Golden(name))
    let planted = try model.changed(try Self.planted(in: model))
    let vocabulary = try #require(model.axes.first { $0.name == "vocabulary" }?.instances.first?.size)
    var generator = SeededGenerator(seed: 9)
    let sequences = (0..<12).map { _ in (0..<32).map { _ in Int32.random(in: 0..<Int32(vocabulary), using: &generator) }
    }
    let agreement = try ActivationAgreement.measure(
      try Network(planted, workers: Golden.workers), against: try Network(model.checkpoint, workers: Golden.workers),
      described: model.description, sequences: sequences, workers: Golden.workers)
    #expect(agreement.rows == 12 * 32)
    let alignment = try WeightMatching(planted, to: model.checkpoint, of: model.family, workers: Golden.workers)
      .align(activations: agreement)
    #expect(alignment.axes.contains { $0.isByActivations })
    #expect(alignment.after.cosine > 1 - 1e-9)
  }

  /// A copy has the same singular vectors, in its own order.
  @Test func singularVectorsOfACopyAreAligned() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let planted = try model.changed(try Self.planted(in: model))
    let alignment = try WeightMatching(planted, to: model.checkpoint, of: model.family, workers: Golden.workers).align()
    let found = try SingularAlignment.measure(
      planted, try alignment.applied(to: planted, of: model.family), to: model.checkpoint, workers: Golden.workers)
    #expect(found.matrices > 0)
    #expect(found.before < 0.5)
    #expect(abs(found.after - 1) <= 1e-6)
  }

  // MARK: - Support

  /// A change that moves everything that may move, of heads and experts each in its own way.
  static func planted(in model: GoldenModel, seed: UInt64 = 41) throws -> StructuralChange {
    var generator = SeededGenerator(seed: seed)
    var change = StructuralChange()
    let axes = model.axes.flatMap(\.instances)
    for axis in axes where axis.permutation == .free && axis.size > 1 && !axis.isVocabulary {
      change.choices[axis.instance] = AxisChoice((0..<axis.size).shuffled(using: &generator))
    }
    // Within heads: a list each, where every parameter has the heads before it.
    for axis in axes where axis.scope == .head && change.choices[axis.instance] != nil {
      let place = axis.instance.split(separator: "/").dropLast().joined(separator: "/")
      for outer in ["keyValueHeads", "heads", "crossHeads"] {
        guard let heads = axes.first(where: { $0.instance == "\(place)/\(outer)" }),
          change.choices[heads.instance] != nil
        else { continue }
        let lists = (0..<heads.size).map { _ in (0..<axis.size).shuffled(using: &generator) }
        var trial = change
        trial.choices[axis.instance] = try AxisChoice(lists, of: heads.instance)
        if (try? model.changed(trial)) != nil { change = trial }
      }
    }
    return change
  }

  /// A model of the same shape with numbers of chance.
  static func noise(like model: GoldenModel, in folder: String, seed: UInt64) throws -> SafetensorsCheckpoint {
    var generator = SeededGenerator(seed: seed)
    let tensors = model.checkpoint.parameters.map { parameter in
      TestTensor(
        parameter.name, parameter.shape,
        (0..<parameter.elementCount).map { _ in Float.random(in: -1...1, using: &generator) })
    }
    try TestTensor.write(tensors, to: "\(folder)/model.safetensors")
    try FileSystem.write(try #require(model.checkpoint.config).bytes(), to: "\(folder)/config.json")
    return try SafetensorsCheckpoint(at: folder)
  }

  private static func innerProduct(_ a: any Checkpoint, _ b: any Checkpoint) throws -> Double {
    let files = FilePool()
    let others = b.parametersByName()
    return try a.parameters.reduce(0) { sum, parameter in
      guard let other = others[ExactString(parameter.name)] else { return sum }
      let (x, y) = (try parameter.values(files: files), try other.values(files: files))
      return zip(x, y).reduce(sum) { $0 + Double($1.0) * Double($1.1) }
    }
  }
}
