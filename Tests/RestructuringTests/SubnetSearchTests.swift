import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics
import NetworkTestSupport
import TestSupport
import Testing

@testable import EspalierRestructuring

/// Subnets of one size, found by variation and choice.
@Suite struct SubnetSearchTests {
  private func deep() throws -> (GoldenModel, TokenSubject, Int) {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let subject = try TokenSubject(try model.repeated([0, 1, 0, 1]), of: model.family)
    return (model, subject, try parameterCount(subject.checkpoint, of: model.family))
  }

  private let settings: [String: ParameterValue] = [
    "population": .number(6), "generations": .number(3), "seed": .number(5), "measured": .flag(false),
  ]

  @Test func whatIsFoundIsNoWorseThanTheEvenCut() throws {
    let (model, subject, whole) = try deep()
    let wanted = whole * 8 / 10
    let result = try restructured(
      subject, by: "search", settings.merging(["reform": .flag(false)]) { $1 }, to: wanted)
    let count = try parameterCount(result.checkpoint, of: model.family)
    #expect(count <= wanted && Double(count) >= 0.97 * Double(wanted))
    #expect(result.steps[0].text == "the same share of every layer")
    let turns = result.steps.filter { $0.text.hasPrefix("turn ") }.compactMap { $0.figures.first?.value }
    #expect(result.steps[1].text == "by one order of all channels")
    #expect(turns.count == 4 && turns == turns.sorted(by: >))
    #expect(result.steps[2].text == "0.5 of the way from the one to the other")
    for start in result.steps.prefix(5) { #expect(turns[0] <= start.figures[0].value) }
    #expect(abs(try subject.divergence(of: result.checkpoint, named: "") - turns[3]) <= 1e-9)
    #expect(subject.measured == 6 + 3 * 6 + 1)
  }

  /// Widths are those of `width allocate=measured`.
  @Test func beginsWithMeasuredWidths() throws {
    let (_, subject, whole) = try deep()
    let wanted = whole * 8 / 10
    let settings = settings.merging(["measured": .flag(true), "generations": .number(0), "reform": .flag(false)]) { $1 }
    let steps = try restructured(subject, by: "search", settings, to: wanted).steps
    #expect(steps[1].text == "by what every layer was measured to lose")
    let measured = try restructured(subject, by: "width", ["allocate": .word("measured")], to: wanted)
    let divergence = try subject.divergence(of: measured.checkpoint, named: "")
    #expect(abs(steps[1].figures[0].value - divergence) <= 1e-9)
    #expect(steps[1].figures[0].value != steps[0].figures[0].value)
  }

  @Test func theSeedDecides() throws {
    let (_, subject, whole) = try deep()
    func found(_ seed: Double) throws -> [String] {
      let settings = settings.merging(["seed": .number(seed), "reform": .flag(false)]) { $1 }
      return try restructured(subject, by: "search", settings, to: whole * 8 / 10).steps.map {
        "\($0.text) \($0.figures.map(\.value))"
      }
    }
    let first = try found(5)
    #expect(try found(5) == first)
    #expect(try found(6) != first)
  }

  @Test func theChosenIsReformed() throws {
    let (_, subject, whole) = try deep()
    try withTemporaryFolder { folder in
      subject.folder = folder
      let result = try restructured(subject, by: "search", settings, to: whole * 8 / 10)
      let repairs = result.steps.filter { $0.text.contains("makes up for") }
      #expect(!repairs.isEmpty)
      for step in repairs { #expect(step.figures[1].value < step.figures[0].value, "\(step.text)") }
      #expect(try subject.divergence(of: result.checkpoint, named: "").isFinite)
    }
  }

  /// Sizes are told without making the model.
  @Test func sizesAreThoseOfTheModels() throws {
    let (model, subject, whole) = try deep()
    let space = try SubnetSpace(subject, masks: [MagnitudeScore(), OutputScore()], to: whole * 8 / 10, floor: 0.25)
    var draws = Draws(seed: 3)
    var checked = 0
    for _ in 0..<20 {
      guard let subnet = space.fitted(space.mutated(space.whole, reach: 0.5, &draws)) else { continue }
      let changed = try subject.changed(space.change(subnet))
      #expect(try parameterCount(changed, of: model.family) == space.size(of: subnet))
      checked += 1
    }
    #expect(checked > 5)
  }

  /// Numbers that one layer gives another takes, and small steps leave layers and heads alone.
  @Test func movesKeepTheSize() throws {
    let (_, subject, whole) = try deep()
    let space = try SubnetSpace(subject, masks: [OutputScore()], to: whole * 8 / 10, floor: 0.25)
    let start = try #require(space.starts.first).subnet
    var draws = Draws(seed: 7)
    var moved = 0
    for _ in 0..<50 {
      let subnet = space.mutated(start, reach: 0.01, &draws)
      guard subnet.layers == start.layers, space.coarse.allSatisfy({ subnet.kept[$0] == start.kept[$0] }) else {
        continue
      }
      moved += 1
      for index in space.fine {
        #expect(abs(subnet.kept[index] - start.kept[index]) <= 1 + start.kept[index] * 3 / 20)
      }
    }
    #expect(moved >= 45)
  }

  /// Units go by the score that the subnet says for their layer.
  @Test func masksVary() throws {
    let (_, subject, whole) = try deep()
    let space = try SubnetSpace(subject, masks: [OutputScore(), MagnitudeScore()], to: whole * 8 / 10, floor: 0.25)
    var subnet = try #require(space.starts.first).subnet
    let index = try #require(space.fine.first)
    let instance = space.groups[index].axis.instance
    let before = space.change(subnet).choices[instance]
    subnet.masks[index] = 1
    let fitted = try #require(space.fitted(subnet))
    let after = space.change(fitted).choices[instance]
    #expect(before?.count == after?.count && before != after)
    #expect(after == AxisChoice(space.scores[1][index].highest(fitted.kept[index])))
    #expect(space.steps(fitted).contains { $0.text.hasSuffix("stay by magnitude") })
  }

  @Test func tooFewSubnetsAreNoPopulation() throws {
    let (_, subject, whole) = try deep()
    let found = problem {
      try restructured(
        subject, by: "search", ["population": .number(512), "floor": .number(1), "generations": .number(0)],
        to: whole * 9 / 10)
    }
    #expect(found?.message.contains("a population has 512") == true)
    #expect(found?.remedy?.contains("population of") == true)
  }
}
