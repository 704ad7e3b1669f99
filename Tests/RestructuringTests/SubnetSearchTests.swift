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
    "population": .number(6), "generations": .number(3), "seed": .number(5),
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
    #expect(result.steps[1].text == "by one order of all units")
    #expect(turns.count == 4 && turns == turns.sorted(by: >))
    for start in result.steps.prefix(2) { #expect(turns[0] <= start.figures[0].value) }
    #expect(abs(try subject.divergence(of: result.checkpoint, named: "") - turns[3]) <= 1e-9)
    #expect(subject.measured == 6 + 3 * 6 + 1)
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
    let space = try SubnetSpace(subject, score: MagnitudeScore(), to: whole * 8 / 10, floor: 0.25)
    var draws = Draws(seed: 3)
    var checked = 0
    for _ in 0..<20 {
      guard let subnet = space.fitted(space.mutated(space.whole, &draws)) else { continue }
      let changed = try subject.changed(space.change(subnet))
      #expect(try parameterCount(changed, of: model.family) == space.size(of: subnet))
      checked += 1
    }
    #expect(checked > 5)
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
