internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints

/// Parts of state-space models leave one after the other, each time what predictions miss least.
public struct StateSpaceShedding: StructuralMethod {
  /// What leaves.
  enum Target: String, CaseIterable {
    case blocks, heads, state, channels

    /// Names that the axis has in families.
    var axes: [String] {
      switch self {
      case .blocks: []
      case .heads: ["headsPerGroup"]
      case .state: ["state"]
      case .channels: ["inner", "headWidth"]
      }
    }
  }

  public static let card = MethodCard(
    name: "mamba-shedder", summary: "blocks, heads, channels or states of state-space models leave, as they are missed",
    source: "munoz2025mambashedder",
    parameters: [
      ParameterCard(
        "target", .choice(Target.allCases.map(\.rawValue)), default: .word("blocks"),
        "What leaves: whole blocks, heads (Mamba 2), entries of the state, channels."),
      ParameterCard(
        "groups", .integer(2...256), default: .number(8),
        "Groups of a layer's states or channels, which leave together; heads leave one by one."),
      MultiPruner.lazyCard,
    ],
    notes: "The source goes by perplexity, this by divergence from the original. Its removal of a scan that leaves the "
      + "block around it has no place in the families' configs: target=state makes the scan smaller instead, down to one "
      + "group. The place of a head is the same in every group of heads. Within a layer the least by magnitude may leave "
      + "first.")

  private let target: Target
  private let groups: Int
  private let isLazy: Bool

  public init(_ parameters: StructuralParameters) throws(Problem) {
    target = parameters.word("target").flatMap(Target.init) ?? .blocks
    groups = parameters.integer("groups") ?? 8
    isLazy = parameters.flag("lazy") ?? false
  }

  public var needs: StructuralNeed { .text }

  public func check(_ model: any StructuralModel, to parameters: Int) throws(Problem) {
    guard model.description.parameters.contains(where: { $0.role.part == .stateSpaceDecay }) else {
      throw Problem(.restructuring, "a \(model.family.name) has no state spaces")
    }
    // In which order units leave does not change how many numbers are left.
    let queues = try queues(of: model) { [Double](repeating: 0, count: $0.count) }
    let least = try model.leastNumbers(after: queues, until: parameters)
    guard least <= parameters else { throw unreachable(parameters, least) }
  }

  public func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured {
    try check(subject, to: parameters)
    var removal = try GreedyRemoval(subject, isLazy: isLazy)
    let files = FilePool()
    let queues = try queues(of: subject) { (group) throws(Problem) in
      try MagnitudeScore().scores(of: group, in: subject, files: files)
    }
    guard try removal.remove(queues, until: parameters) else {
      throw unreachable(parameters, removal.parameters)
    }
    return Restructured(removal.checkpoint, steps: removal.steps)
  }

  private func queues(
    of model: any StructuralModel, scores: (UnitGroup) throws(Problem) -> [Double]
  ) throws(Problem) -> [[Removal]] {
    if target == .blocks { return try BlockDropping.blocks(of: model) }
    var queues: [[Removal]] = []
    for group in try groups(of: model) {
      queues.append(
        group.removals(
          try scores(group), steps: target == .heads ? group.count : groups, left: StructuralChange()))
    }
    return queues
  }

  private func unreachable(_ wanted: Int, _ least: Int) -> Problem {
    Problem(.restructuring, "\(wanted) numbers cannot be reached by \(target.rawValue) alone: \(least) can")
  }

  private func groups(of model: any StructuralModel) throws(Problem) -> [UnitGroup] {
    let found = UnitGroup.all(of: model.description, in: model.checkpoint).filter {
      target.axes.contains($0.axis.name)
    }
    guard !found.isEmpty else {
      throw Problem(.restructuring, "a \(model.family.name) has no \(target.rawValue) that could leave")
    }
    return found
  }
}
