internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints

/// Channels of feed-forward blocks, heads, or channels of the stream leave by their scores: of every layer the same
/// share, or wherever it costs least.
public struct UniformWidth: StructuralMethod {
  static let axisCard = ParameterCard(
    "axis", .choice(["inner", "heads", "both"]), default: .word("inner"), "which units go: channels, heads, or of both")
  static let allocationCard = ParameterCard(
    "allocate", .choice(["even", "global"]), default: .word("even"),
    "the same share of every layer, or units of all layers by what each costs for its numbers")
  static let floorCard = ParameterCard(
    "floor", .number(0...1), default: .number(0.25), "the share of a layer's units that stays with allocate=global")

  public static let card = MethodCard(
    name: "width", summary: "channels (or heads) go by a score, the same share of every layer or by one order of all",
    source: "sreenivas2024minitron",
    parameters: [
      ParameterCard(
        "axis", .choice(["inner", "heads", "both", "hidden"]), default: .word("inner"),
        "which units go: channels, heads, of both, or channels of the stream between layers"),
      ParameterCard(
        "score", .choice(UnitScores.channelNames), default: .word("output"), "what tells the units that go"),
      ParameterCard(
        "multiple", .integer(1...4096), default: .number(1),
        "numbers of units that stay are multiples of this, in layers that have so many"),
      ParameterCard(
        "allocate", .choice(["even", "global", "measured"]), default: .word("even"),
        "the same share of every layer, or units of all layers by what each costs for its numbers: by its score, or by "
          + "its part of what its layer was measured to lose"),
      ParameterCard(
        "floor", .number(0...1), default: .number(0.25),
        "the share of a layer's units that stays with allocate=global or measured"),
      ParameterCard(
        "least", .number(0...1), default: .number(0),
        "of a layer's units the share that stays although their scores are the lowest"),
    ],
    notes: "Minitron's width pruning with score=activation. With allocate=even widths stay even, so the result loads "
      + "anywhere; axis=both takes the nearest number of heads, and channels make up for the rest; axis=hidden takes "
      + "channels of the stream out of every tensor, which no repair makes up for. allocate=global needs a score that can "
      + "be compared across layers; allocate=measured takes the wanted share out of each layer by itself, measures how far "
      + "predictions move (text, one run a layer), and scales the layer's scores by it. Both give layers widths of their "
      + "own. LoRAP's channels are score=lorap least=0.01.")

  private let axis: String
  private let score: any UnitScore
  private let multiple: Int
  private let isGlobal: Bool
  private let isMeasured: Bool
  private let floor: Double
  private let least: Double

  public init(_ parameters: StructuralParameters) throws(Problem) {
    axis = parameters.word("axis") ?? "inner"
    score = try UnitScores.score(named: parameters.word("score") ?? "output")
    multiple = parameters.integer("multiple") ?? 1
    let allocation = parameters.word("allocate") ?? "even"
    (isGlobal, isMeasured) = (allocation != "even", allocation == "measured")
    floor = parameters.number("floor") ?? 0.25
    least = parameters.number("least") ?? 0
    guard isGlobal else { return }
    guard isMeasured || type(of: score).isComparable else {
      let others = UnitScores.all.filter { $0.isComparable }.map { $0.card.name }
      throw Problem(
        .restructuring, "scores of `\(type(of: score).card.name)` cannot be compared across layers",
        remedy: "Take allocate=measured, or score=\(others.joined(separator: ", score=")).")
    }
    guard axis != "hidden" else {
      throw Problem(.restructuring, "axis=hidden goes with allocate=even alone: all layers share the stream")
    }
    guard multiple == 1 else {
      throw Problem(.restructuring, "multiple=\(multiple) goes with allocate=even alone")
    }
  }

  public var needs: StructuralNeed { isMeasured ? .text : type(of: score).needs }
  public var gathersStatistics: Bool { type(of: score).gathersStatistics }

  public func check(_ model: any StructuralModel, to parameters: Int) throws(Problem) {
    let groups = try Self.groups(axis, of: model)
    let allocation = WidthAllocation(groups, of: model, to: parameters)
    let kept = isGlobal ? try allocation.requireReachable(floor: floor) : try allocation.even(multiple: multiple)
    // Not every config can say every size: which units stay does not matter for that.
    var change = StructuralChange()
    for (group, count) in zip(groups, kept) { change.choices[group.axis.instance] = AxisChoice(Array(0..<count)) }
    let changed: RestructuredCheckpoint
    do throws(Problem) { changed = try model.changed(change) } catch {
      throw Problem(
        .restructuring, "a \(model.family.name) cannot have these sizes along `\(axis)`: \(error.message)",
        remedy: error.remedy ?? "Other axes may go: `espalier groups MODEL` lists them.")
    }
    // What carries an axis twice has fewer numbers than were counted.
    let left = ParameterCount.of(changed, described: changed.description)
    guard left <= parameters else {
      throw Problem(
        .restructuring, "\(left) numbers are left where \(parameters) may be",
        remedy: "Ask for fewer --parameters: sizes along `\(axis)` are not in proportion to its units.")
    }
  }

  public func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured {
    let groups = try Self.groups(axis, of: subject)
    let allocation = WidthAllocation(groups, of: subject, to: parameters)
    var kept = isGlobal ? [] : try allocation.even(multiple: multiple)
    let files = FilePool()
    var scores: [[Double]] = []
    for group in groups {
      subject.progress("scores of \(group.axis.instance)")
      scores.append(try score.scores(of: group, in: subject, files: files))
    }
    if isGlobal {
      var costs = scores.map { $0.sorted() }
      if isMeasured {
        for index in groups.indices {
          costs[index] = try groups[index].measuredCosts(costs[index], share: allocation.share, in: subject) {
            choice(scores[index], $0)
          }
        }
      }
      kept = try allocation.global(costs: costs, floor: floor)
    }
    var choices: [String: AxisChoice] = [:]
    for (index, group) in groups.enumerated() {
      choices[group.axis.instance] = choice(scores[index], kept[index])
    }
    return Restructured(
      try subject.changed(StructuralChange(choices: choices)), steps: Self.steps(groups, keeping: kept))
  }

  private func choice(_ scores: [Double], _ kept: Int) -> AxisChoice {
    AxisChoice(scores.highest(kept, withLowest: Int(least * Double(scores.count))))
  }

  static func steps(_ groups: [UnitGroup], keeping kept: [Int]) -> [Restructured.Step] {
    zip(groups, kept).map { .init("\($0.axis.instance): \($1) of \($0.count) stay") }
  }

  /// The groups of units that an axis of the user's means in this family.
  static func groups(_ axis: String, of subject: any StructuralModel) throws(Problem) -> [UnitGroup] {
    let heads = ["keyValueHeads", "heads", "crossHeads"]
    let names = axis == "heads" ? heads : axis == "both" ? ["inner"] + heads : [axis]
    let all = UnitGroup.all(of: subject.description, in: subject.checkpoint, hasStream: axis == "hidden")
    let groups = all.filter { group in
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
  ///
  /// - Parameter lowest: so many of those taken are the lowest instead.
  func highest(_ count: Int, withLowest lowest: Int = 0) -> [Int] {
    let order = indices.sorted { self[$0] == self[$1] ? $0 < $1 : self[$0] > self[$1] }
    let lowest = Swift.min(lowest, count)
    return (order.prefix(count - lowest) + order.suffix(lowest)).sorted()
  }
}
