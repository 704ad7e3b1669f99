internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints

/// In three turns leave blocks, then channels of feed-forward blocks, then heads, each time what predictions miss least.
public struct MultiPruner: StructuralMethod {
  static let lazyCard = ParameterCard(
    "lazy", .flag, default: .flag(false),
    "Measure again only what would be next by what it cost last, not everything each time.")

  public static let card = MethodCard(
    name: "multipruner", summary: "blocks, then channels, then heads leave, each time what is missed least",
    source: "munoz2025multipruner",
    parameters: [
      ParameterCard(
        "blocks", .number(0...1), default: .number(0.44), "Share of what is to leave that leaves as blocks."),
      ParameterCard("channels", .number(0...1), default: .number(0.52), "And as channels; the rest leaves as heads."),
      ParameterCard(
        "groups", .integer(2...256), default: .number(11), "Groups of a layer's channels, which leave together."),
      ParameterCard(
        "score", .choice(UnitScores.channelNames), default: .word("magnitude"),
        "Orders a layer's channels and heads; those of the lowest score are the first that may leave."),
      ParameterCard(
        "lazy", .flag, default: .flag(true),
        "Measure again only what would be next by what it cost last, not everything each time."),
    ],
    notes: "The shares are those that the source has for Llama 2 7B, its groups are 1024 of 11008 channels. It goes by "
      + "perplexity, this by divergence from the original; heads that share keys leave together. A share is passed by "
      + "at most one step, the goal only by the last. lazy=false is the source's.")

  private let blocks: Double
  private let channels: Double
  private let groups: Int
  private let score: any UnitScore
  private let isLazy: Bool

  public init(_ parameters: StructuralParameters) throws(Problem) {
    blocks = parameters.number("blocks") ?? 0.44
    channels = parameters.number("channels") ?? 0.52
    groups = parameters.integer("groups") ?? 11
    score = try UnitScores.score(named: parameters.word("score") ?? "magnitude")
    isLazy = parameters.flag("lazy") ?? true
    guard blocks + channels <= 1 + 1e-9 else {
      throw Problem(.restructuring, "\(blocks) and \(channels) of what leaves are more than all of it")
    }
  }

  public var needs: StructuralNeed { .text }
  public var gathersStatistics: Bool { type(of: score).gathersStatistics }

  public func check(_ model: any StructuralModel, to parameters: Int) throws(Problem) {
    let least = try leastNumbers(of: model, to: parameters)
    guard least <= parameters else { throw unreachable(parameters, least) }
  }

  /// Fewer numbers cannot be left, as headers tell.
  private func leastNumbers(of model: any StructuralModel, to parameters: Int) throws(Problem) -> Int {
    func queues(_ units: [UnitGroup], steps: Int?) -> [[Removal]] {
      units.map {
        $0.removals([Double](repeating: 0, count: $0.count), steps: steps ?? $0.count, left: StructuralChange())
      }
    }
    let units =
      queues(try UniformWidth.groups("inner", of: model), steps: groups) + queues(heads(of: model), steps: nil)
    let byUnits = try model.leastNumbers(after: units, until: parameters)
    guard blocks > 0 else { return byUnits }
    _ = try BlockDropping.blocks(of: model)
    let whole = ParameterCount.of(model.checkpoint, described: model.description)
    let layers = model.layerSizes(of: try model.layeredTower())
    // Blocks pass their share by at most one; which they are, so how many units with them, is not known here.
    let share = Int(blocks * Double(whole - parameters)) + (layers.max() ?? 0)
    return max(byUnits - share, whole - layers.reduce(0, +))
  }

  public func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured {
    var removal = try GreedyRemoval(subject, isLazy: isLazy)
    let excess = Double(removal.parameters - parameters)
    func goal(_ share: Double) -> Int { parameters + Int(excess * max(0, 1 - share)) }
    if blocks > 0 {
      _ = try removal.remove(
        try BlockDropping.blocks(of: subject), until: goal(blocks), notBelow: parameters)
    }
    let channels = try UniformWidth.groups("inner", of: subject)
    if blocks + self.channels > 0, removal.parameters > goal(blocks + self.channels) {
      _ = try removal.remove(
        try units(channels, steps: groups, of: subject, left: removal.change), until: goal(blocks + self.channels))
    }
    if removal.parameters > parameters {
      _ = try removal.remove(
        try units(heads(of: subject), steps: nil, of: subject, left: removal.change), until: parameters)
    }
    // Where heads do not suffice, channels go on.
    if removal.parameters > parameters {
      let left = try units(channels, steps: groups, of: subject, left: removal.change)
      guard try removal.remove(left, until: parameters) else {
        throw unreachable(parameters, removal.parameters)
      }
    }
    return Restructured(removal.checkpoint, steps: removal.steps)
  }

  private func unreachable(_ wanted: Int, _ least: Int) -> Problem {
    Problem(
      .restructuring, "\(wanted) numbers cannot be reached: at least \(least) are left",
      remedy: "Let a larger share leave as blocks, or have more groups.")
  }

  /// Units of every layer that still has them, the least important first.
  ///
  /// - Parameter steps: how many groups a layer's units make; nil: each unit is one.
  private func units(
    _ groups: [UnitGroup], steps: Int?, of subject: any StructuralSubject, left change: StructuralChange
  ) throws(Problem) -> [[Removal]] {
    let files = FilePool()
    var queues: [[Removal]] = []
    for group in groups where group.isLeft(by: change) {
      let scores = try score.scores(of: group, in: subject, files: files)
      queues.append(group.removals(scores, steps: steps ?? group.count, left: change))
    }
    return queues
  }

  /// None in families without attention.
  private func heads(of model: any StructuralModel) -> [UnitGroup] {
    (try? UniformWidth.groups("heads", of: model)) ?? []
  }
}

extension UnitGroup {
  /// Whether a change leaves parameters that have the units.
  func isLeft(by change: StructuralChange) -> Bool {
    guard let layer else { return true }
    if let kept = change.layers[tower], !kept.contains(layer) { return false }
    guard let missing = change.missing[tower]?[layer] else { return true }
    let isAttention = members.contains { $0.parameter.role.isOfAttention }
    return !missing.contains(isAttention ? "attention" : "mlp")
  }

  /// The units in groups, those of the lowest scores first; the group of the highest stays.
  func removals(_ scores: [Double], steps: Int, left change: StructuralChange) -> [Removal] {
    let order = scores.indices.sorted { scores[$0] == scores[$1] ? $0 < $1 : scores[$0] > scores[$1] }
    let size = max(1, (count + steps - 1) / steps)
    var kept = (change.choices[axis.instance]?.count ?? count) - size
    var removals: [Removal] = []
    let instance = axis.instance
    while kept > 0 {
      let units = order.prefix(kept).sorted()
      removals.append(
        Removal(text: "\(instance): \(kept) of \(count) stay") { change in
          change.choices[instance] = AxisChoice(units)
          return true
        })
      kept -= size
    }
    return removals
  }
}

extension Role {
  var isOfAttention: Bool {
    switch part {
    case .attentionQuery, .attentionKey, .attentionValue, .attentionOutput, .attentionQueryKeyValue: true
    default: false
    }
  }
}
