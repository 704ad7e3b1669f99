internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints

/// Of every layer the same share of units stays: those with the highest scores.
public struct UniformWidth: StructuralMethod {
  public static let card = MethodCard(
    name: "width", summary: "the same share of channels (or heads) of every layer goes, by a score",
    source: "sreenivas2024minitron",
    parameters: [
      ParameterCard("axis", .choice(["inner", "heads"]), default: .word("inner"), "which units go"),
      ParameterCard("score", .choice(UnitScores.names), default: .word("output"), "what tells the units that go"),
      ParameterCard(
        "multiple", .integer(1...4096), default: .number(1), "numbers of units that stay are multiples of this"),
    ],
    notes: "Minitron's width pruning with score=activation. Widths stay even, so the result loads anywhere.")
  public static let needs = StructuralNeed.statistics

  private let axis: String
  private let score: any UnitScore
  private let multiple: Int

  public init(_ parameters: StructuralParameters) throws(Problem) {
    axis = parameters.word("axis") ?? "inner"
    score = try UnitScores.score(named: parameters.word("score") ?? "output")
    multiple = parameters.integer("multiple") ?? 1
  }

  public func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured {
    let groups = try Self.groups(axis, of: subject)
    let now = ParameterCount.of(subject.checkpoint, described: subject.description)
    let perShare = groups.reduce(0) { $0 + $1.parametersPerUnit * $1.count }
    let share = 1 - Double(now - parameters) / Double(perShare)
    let kept = groups.map { Int(share * Double($0.count)) / multiple * multiple }
    guard share <= 1, kept.allSatisfy({ $0 > 0 }) else {
      let least = now - groups.reduce(0) { $0 + $1.parametersPerUnit * ($1.count - multiple) }
      throw Problem(
        .restructuring, "\(parameters) numbers cannot be reached by `\(axis)` alone: \(least) to \(now) can",
        remedy: "Ask for more, or let another method take layers too.")
    }
    let files = FilePool()
    var change = StructuralChange()
    var steps: [Restructured.Step] = []
    for (group, count) in zip(groups, kept) {
      let scores = try score.scores(of: group, in: subject, files: files)
      change.choices[group.axis.instance] = AxisChoice(scores.highest(count))
      steps.append(.init("\(group.axis.instance): \(count) of \(group.count) stay"))
      subject.progress(steps[steps.count - 1].text)
    }
    do throws(Problems) {
      return Restructured(
        try RestructuredCheckpoint(subject.checkpoint, of: subject.family, change: change), steps: steps)
    } catch { throw error.all.first ?? Problem(.restructuring, "the model cannot be changed") }
  }

  /// The groups of units that an axis of the user's means in this family.
  static func groups(_ axis: String, of subject: any StructuralSubject) throws(Problem) -> [UnitGroup] {
    let names = axis == "heads" ? ["keyValueHeads", "heads"] : [axis]
    let groups = UnitGroup.all(of: subject.description, in: subject.checkpoint).filter { group in
      names.contains { group.axis.name == $0 || group.axis.name.hasSuffix(".\($0)") }
    }
    guard !groups.isEmpty else {
      throw Problem(
        .restructuring, "no layer of a \(subject.family.name) has units along `\(axis)` that could go",
        remedy: "`espalier groups MODEL` lists the axes.")
    }
    return groups
  }
}

extension Array where Element == Double {
  /// The places of the highest values, in their order; of equal ones those that come first.
  func highest(_ count: Int) -> [Int] {
    indices.sorted { self[$0] == self[$1] ? $0 < $1 : self[$0] > self[$1] }.prefix(count).sorted()
  }
}
