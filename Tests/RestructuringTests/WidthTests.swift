import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import NetworkTestSupport
import TestSupport
import Testing

@testable import EspalierRestructuring

/// Channels and heads that leave, by share and by score.
@Suite struct WidthTests {
  private func deep() throws -> (GoldenModel, TokenSubject, Int) {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let subject = try TokenSubject(try model.repeated([0, 1, 0, 1]), of: model.family)
    return (model, subject, try parameterCount(subject.checkpoint, of: model.family))
  }

  private func kept(_ result: Restructured, _ axis: String, of family: Architecture) throws -> [Int] {
    try family.describe(config: try #require(result.checkpoint.config)).axes.filter { $0.name == axis }.map(\.size)
  }

  @Test func bothAxesLoseTheSameShare() throws {
    let (model, subject, whole) = try deep()
    let (heads, inner) = (
      try kept(Restructured(subject.checkpoint, steps: []), "keyValueHeads", of: model.family),
      try kept(Restructured(subject.checkpoint, steps: []), "inner", of: model.family)
    )
    let result = try restructured(subject, by: "width", ["axis": .word("both")], to: whole * 3 / 4)
    let count = try parameterCount(result.checkpoint, of: model.family)
    #expect(count <= whole * 3 / 4 && count > whole * 7 / 10)
    #expect(Set(try kept(result, "keyValueHeads", of: model.family)).count == 1)
    #expect(Set(try kept(result, "inner", of: model.family)).count == 1)
    #expect(try kept(result, "inner", of: model.family)[0] < inner[0])
    #expect(try kept(result, "keyValueHeads", of: model.family)[0] <= heads[0])
    #expect(try subject.divergence(of: result.checkpoint, named: "").isFinite)
  }

  /// Channels of the stream leave out of every tensor, those first that the norms let through least.
  @Test func channelsOfTheStreamLeave() throws {
    let (model, subject, whole) = try deep()
    let settings: [String: ParameterValue] = ["axis": .word("hidden"), "score": .word("activation")]
    let result = try restructured(subject, by: "width", settings, to: whole * 3 / 4)
    let count = try parameterCount(result.checkpoint, of: model.family)
    let before = try kept(Restructured(subject.checkpoint, steps: []), "hidden", of: model.family)[0]
    let after = try kept(result, "hidden", of: model.family)[0]
    // Every number is of one channel: the share of channels is the share of numbers.
    #expect(after == before * 3 / 4 && count == whole / before * after)
    // Queries, keys and values read what one norm lets through; gate and up what the other does; the head the last.
    var squares = [Double](repeating: 0, count: before)
    for (name, parameter) in subject.description.fit(names: subject.checkpoint.parameters.map(\.name)).described {
      let readers = ["q_proj", "k_proj", "v_proj", "gate_proj", "up_proj", "lm_head"]
      guard readers.contains(where: { name.contains($0) }), let site = parameter.inputSite else { continue }
      let scales = try subject.statistics(ofSite: site).rootMeanSquares
      for channel in 0..<before { squares[channel] += scales[channel] * scales[channel] }
    }
    let change = try #require(result.checkpoint as? RestructuredCheckpoint).change
    #expect(change.choices["hidden"] == AxisChoice(squares.highest(after)))
    #expect(try subject.divergence(of: result.checkpoint, named: "").isFinite)
  }

  /// Heads keep to the multiple as channels do, where a layer has so many; what does not suit leaves with the others.
  @Test func everyGroupKeepsToTheMultiple() throws {
    let (model, subject, whole) = try deep()
    let settings: [String: ParameterValue] = ["axis": .word("both"), "score": .word("magnitude")]
    func kept(_ axis: String, _ multiple: Double) throws -> [Int] {
      let settings = settings.merging(["multiple": .number(multiple)]) { $1 }
      let result = try restructured(subject, by: "width", settings, to: whole * 6 / 10)
      #expect(try parameterCount(result.checkpoint, of: model.family) <= whole * 6 / 10)
      return try self.kept(result, axis, of: model.family)
    }
    #expect(try kept("keyValueHeads", 1) == [1, 1, 1, 1])
    #expect(try kept("keyValueHeads", 2) == [2, 2, 2, 2])
    #expect(try kept("inner", 2).allSatisfy { $0 % 2 == 0 })
    // Of fewer heads than the multiple any number stays.
    #expect(try kept("keyValueHeads", 4) == [1, 1, 1, 1])
    #expect(try kept("inner", 4).allSatisfy { $0 % 4 == 0 })
  }

  /// Channels leave by eights at most down to eight, which is more than the least.
  @Test func multiplesThatAreTooLargeAreTold() throws {
    let (model, subject, whole) = try deep()
    let group = UnitGroup.groups(along: "inner", of: model.description, in: model.checkpoint)[0]
    let least = whole - 4 * (group.count - 8) * group.parametersPerUnit
    let settings: [String: ParameterValue] = ["multiple": .number(8), "score": .word("magnitude")]
    let result = try restructured(subject, by: "width", settings, to: least)
    #expect(try parameterCount(result.checkpoint, of: model.family) == least)
    let found = problem { try restructured(subject, by: "width", settings, to: least - 1) }
    #expect(found?.message == "\(least - 1) numbers cannot be reached by `inner` alone: \(least) to \(whole) can")
  }

  /// What a plan accepts can be made, and is no larger than asked for, in every family; what it refuses is said.
  @Test(arguments: ["inner", "heads", "both", "hidden"])
  func plansKeepTheirWord(axis: String) throws {
    var made = 0
    for golden in Golden.names.map(Golden.init) {
      let model = try GoldenModel(golden)
      let subject = try TokenSubject(model.checkpoint, of: model.family, sequences: [])
      let whole = try parameterCount(model.checkpoint, of: model.family)
      let settings: [String: ParameterValue] = ["axis": .word(axis), "score": .word("magnitude")]
      let method = try UniformWidth(StructuralParameters(settings, for: UniformWidth.card))
      guard problem({ try method.check(subject, to: whole * 9 / 10) }) == nil else { continue }
      let result = try method.restructure(subject, to: whole * 9 / 10)
      #expect(try parameterCount(result.checkpoint, of: model.family) <= whole * 9 / 10, "\(golden.name)")
      made += 1
    }
    #expect(made > 10)
  }

  /// One number of heads for the encoder, the decoder and what the one sees of the other.
  @Test func headsOfEncodersAndDecodersLeaveTogether() throws {
    let model = try GoldenModel(Golden("t5_gated_untied"))
    let subject = try TokenSubject(model.checkpoint, of: model.family, sequences: [])
    let whole = try parameterCount(model.checkpoint, of: model.family)
    let method = try UniformWidth(
      StructuralParameters(["axis": .word("heads"), "score": .word("magnitude")], for: UniformWidth.card))
    try method.check(subject, to: whole * 95 / 100)
    let result = try method.restructure(subject, to: whole * 95 / 100)
    let before = try #require(model.checkpoint.config?["num_heads"]?.integer)
    let after = try #require(result.checkpoint.config?["num_heads"]?.integer)
    #expect(after < before)
    let numbers = Set(result.steps.map { $0.text.split(separator: ": ")[1] })
    #expect(numbers.count == 1)
  }

  /// Channels of a layer whose output is silent cost nothing, so they leave first, down to the floor.
  @Test(
    arguments: [
      ("global", "output"), ("global", "heavy-hitters"), ("global", "divergence"), ("measured", "output"),
      ("measured", "magnitude"),
    ])
  func whatCostsLeastLeaves(allocation: String, score: String) throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let silent = try model.repeated([0, 1, 0, 1]).silencing(["layers.2.mlp.down_proj"])
    let subject = try TokenSubject(silent, of: model.family)
    let group = UnitGroup.groups(along: "inner", of: model.description, in: model.checkpoint)[0]
    let goal = try parameterCount(silent, of: model.family) - group.count / 2 * group.parametersPerUnit
    let result = try restructured(
      subject, by: "width", ["allocate": .word(allocation), "score": .word(score)], to: goal)
    #expect(try kept(result, "inner", of: model.family) == [group.count, group.count, group.count / 2, group.count])
    #expect(try subject.divergence(of: result.checkpoint, named: "") <= 1e-6)
  }

  @Test func aFloorStays() throws {
    let (model, subject, whole) = try deep()
    let settings: [String: ParameterValue] = ["allocate": .word("global"), "floor": .number(0.5)]
    let group = UnitGroup.groups(along: "inner", of: model.description, in: model.checkpoint)[0]
    let least = whole - 4 * (group.count / 2) * group.parametersPerUnit
    let result = try restructured(subject, by: "width", settings, to: least)
    #expect(Set(try kept(result, "inner", of: model.family)) == [group.count - group.count / 2])
    let beyond = problem { try restructured(subject, by: "width", settings, to: least - 1) }
    #expect(beyond?.message == "\(least - 1) numbers cannot be reached by `inner` alone: \(least) to \(whole) can")
  }

  @Test(arguments: ["magnitude", "activation", "wanda", "gradient-free"])
  func scoresOfLayersAloneAreRefused(score: String) throws {
    let (_, subject, whole) = try deep()
    let found = problem {
      try restructured(subject, by: "width", ["allocate": .word("global"), "score": .word(score)], to: whole / 2)
    }
    #expect(found?.message == "scores of `\(score)` cannot be compared across layers")
    #expect(found?.remedy?.contains("score=output") == true)
  }

  /// Of three units two are alike: each of them is represented by the other, the third by itself alone.
  @Test func representativesByHand() throws {
    let rows = try Matrix<Double>(rows: 3, columns: 2, elements: [1, 0, 1, 0, -4, 3])
    let kernel = try GradientFreeScore.kernel(of: rows, MatrixProduct.serially)
    // Squared distances are 0 and 34; their mean over pairs is 68 / 3.
    #expect(abs(kernel[0, 1] - 1) <= 1e-12)
    #expect(abs(kernel[0, 2] - Elementary.exp(-1.5)) <= 1e-12)
    let own = try GradientFreeScore.coefficients(kernel, MatrixProduct.serially)
    #expect(abs(own[0] - own[1]) <= 1e-12)
    #expect(own[2] > 1.5 * own[0])
  }

  @Test func gradientFreeScoresKeepWhatIsAlone() throws {
    let (model, subject, whole) = try deep()
    let group = UnitGroup.groups(along: "inner", of: model.description, in: model.checkpoint)[0]
    let scores = try GradientFreeScore().scores(of: group, in: subject, files: FilePool())
    #expect(scores.count == group.count && scores.allSatisfy { (0...1).contains($0) })
    #expect(Set(scores).count > group.count / 2)
    let result = try restructured(subject, by: "width", ["score": .word("gradient-free")], to: whole * 9 / 10)
    #expect(try parameterCount(result.checkpoint, of: model.family) <= whole * 9 / 10)
  }

  /// The mean length of one column's share: ‖W_:j‖ E|x_j|.
  @Test func heavyHittersByStatistics() throws {
    let (model, subject, _) = try deep()
    let group = UnitGroup.groups(along: "inner", of: model.description, in: model.checkpoint)[1]
    let reader = try #require(group.readers.first)
    let means = try subject.statistics(ofSite: try #require(reader.parameter.inputSite)).absoluteMeans
    let values = try reader.stored.values(files: FilePool())
    let norm = stride(from: 5, to: values.count, by: group.count).reduce(0.0) {
      $0 + Double(values[$1]) * Double(values[$1])
    }.squareRoot()
    let scores = try HeavyHitterScore().scores(of: group, in: subject, files: FilePool())
    #expect(abs(scores[5] - norm * means[5]) <= 1e-9 * scores[5])
  }
}
