internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks

/// Experts leave, or merge with those that stay.
public struct ExpertPruning: StructuralMethod {
  /// What becomes of experts that leave.
  enum Merging: String, CaseIterable {
    case no
    /// The mean of the experts, each counting the same.
    case mean
    /// The mean by rows that the router sends to each.
    case use
  }

  private static let scores = ["expert-use", "expert-norm", "router-change", "divergence"]

  public static let card = MethodCard(
    name: "experts", summary: "experts leave, or merge into the most similar of those that stay",
    source: "chowdhury2024experts",
    parameters: [
      ParameterCard(
        "score", .choice(scores), default: .word("expert-use"),
        "The lowest leave: as many of every layer; by divergence one by one, each from where it is missed least."),
      ParameterCard(
        "merge", .choice(Merging.allCases.map(\.rawValue)), default: .word("no"),
        "Whether an expert that leaves is merged into the one that stays whose weights are most similar, and how."),
      MultiPruner.lazyCard,
    ],
    notes: "At least as many stay as the router chooses. Similarity is the cosine of all weights; channels are not "
      + "aligned first, as li2024mcsmoe does. The router keeps the rows of experts that stay, so rows that went to the "
      + "others are sent anew.")

  private let score: String
  private let merging: Merging
  private let isLazy: Bool

  public init(_ parameters: StructuralParameters) throws(Problem) {
    score = parameters.word("score") ?? "expert-use"
    merging = parameters.word("merge").flatMap(Merging.init) ?? .no
    isLazy = parameters.flag("lazy") ?? false
  }

  public var needs: StructuralNeed {
    let score = (try? UnitScores.score(named: score)).map { type(of: $0).needs } ?? .nothing
    return max(score, merging == .use ? .statistics : .nothing)
  }

  public var gathersStatistics: Bool {
    merging == .use || (try? UnitScores.score(named: score)).map { type(of: $0).gathersStatistics } == true
  }

  public var needsBase: Bool { score == RouterChangeScore.card.name }

  public func check(_ model: any StructuralModel, to parameters: Int) throws(Problem) {
    // With how many experts the network still runs is known when it is made; one is the fewest.
    let layers = try ExpertLayer.all(of: model).map(\.experts)
    let left = try model.changed(StructuralChange(choices: choices(layers) { _ in [0] }))
    let least = ParameterCount.of(left, described: left.description)
    guard least <= parameters else { throw unreachable(parameters, least) }
  }

  public func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured {
    let layers = try ExpertLayer.all(of: subject)
    let least = try leastNumber(layers.map(\.experts), subject)
    var (change, steps) =
      score == "divergence"
      ? try missedLeast(layers.map(\.experts), least: least, subject, to: parameters)
      : try lowest(layers, least: least, subject, to: parameters)
    if merging != .no { steps += try merge(layers.map(\.experts), into: &change, subject) }
    return Restructured(try subject.changed(change), steps: steps)
  }

  // MARK: - Who leaves

  /// The smallest number of experts with which the network runs: those that the router chooses.
  private func leastNumber(_ layers: [ExpertLayer], _ subject: any StructuralSubject) throws(Problem) -> Int {
    let most = layers.map(\.count).min() ?? 1
    for count in 1..<max(2, most) {
      let change = StructuralChange(choices: choices(layers) { Array(0..<min(count, $0.count)) })
      do throws(Problem) {
        _ = try subject.network(of: try subject.changed(change))
        return count
      } catch { if Self.isOfTheMachine(error) { throw error } }
    }
    return most
  }

  /// Files and memory are no matter of how many experts there are.
  private static func isOfTheMachine(_ problem: Problem) -> Bool {
    ["file.", "memory."].contains { problem.code.rawValue.hasPrefix($0) }
  }

  private func choices(_ layers: [ExpertLayer], _ kept: (ExpertLayer) -> [Int]) -> [String: AxisChoice] {
    Dictionary(uniqueKeysWithValues: layers.map { ($0.axis.instance, AxisChoice(kept($0))) })
  }

  private func lowest(
    _ layers: [(group: UnitGroup, experts: ExpertLayer)], least: Int, _ subject: any StructuralSubject,
    to parameters: Int
  ) throws(Problem) -> (StructuralChange, [Restructured.Step]) {
    let files = FilePool()
    let score = try UnitScores.score(named: score)
    var scores: [String: [Double]] = [:]
    for (group, _) in layers { scores[group.axis.instance] = try score.scores(of: group, in: subject, files: files) }
    let most = layers.map(\.experts.count).max() ?? 0
    var left = 0
    for gone in 0..<max(1, most) {
      let change = StructuralChange(
        choices: choices(layers.map(\.experts)) { layer in
          (scores[layer.axis.instance] ?? []).highest(max(min(least, layer.count), layer.count - gone))
        })
      let model = try subject.changed(change)
      left = ParameterCount.of(model, described: model.description)
      guard left <= parameters else { continue }
      let steps = layers.map { group, _ in
        let kept = change.choices[group.axis.instance]?.lists.first ?? []
        let out = (0..<group.count).filter { !kept.contains($0) }
        return Restructured.Step("\(group.axis.instance): \(kept.count) of \(group.count) stay, without \(out)")
      }
      return (change, steps)
    }
    throw unreachable(parameters, left)
  }

  private func missedLeast(
    _ layers: [ExpertLayer], least: Int, _ subject: any StructuralSubject, to parameters: Int
  ) throws(Problem) -> (StructuralChange, [Restructured.Step]) {
    var removal = try GreedyRemoval(subject, isLazy: isLazy)
    let queues = layers.flatMap { layer in
      let (instance, count) = (layer.axis.instance, layer.count)
      return (0..<count).map { expert in
        [
          Removal(text: "expert \(expert) of `\(instance)` leaves") { change in
            let kept = (change.choices[instance]?.lists.first ?? Array(0..<count)).filter { $0 != expert }
            guard kept.count >= least else { return false }
            change.choices[instance] = AxisChoice(kept)
            return true
          }
        ]
      }
    }
    guard try removal.remove(queues, until: parameters) else { throw unreachable(parameters, removal.parameters) }
    return (removal.change, removal.steps)
  }

  private func unreachable(_ wanted: Int, _ least: Int) -> Problem {
    Problem(.restructuring, "\(wanted) numbers cannot be reached by experts alone: \(least) can")
  }

  // MARK: - Merging

  private func merge(
    _ layers: [ExpertLayer], into change: inout StructuralChange, _ subject: any StructuralSubject
  ) throws(Problem) -> [Restructured.Step] {
    let files = FilePool()
    var steps: [Restructured.Step] = []
    for layer in layers {
      guard let kept = change.choices[layer.axis.instance]?.lists.first, kept.count < layer.count else { continue }
      let uses = merging == .use ? try layer.uses(in: subject) : [Double](repeating: 1, count: layer.count)
      let products = try layer.products(files: files)
      var groups = Dictionary(uniqueKeysWithValues: kept.map { ($0, [$0]) })
      for expert in 0..<layer.count where !kept.contains(expert) {
        func cosine(_ other: Int) -> Double {
          products[expert][other] / max(1e-300, (products[expert][expert] * products[other][other]).squareRoot())
        }
        guard let nearest = kept.max(by: { (cosine($0), -$0) < (cosine($1), -$1) }) else { continue }
        groups[nearest]?.append(expert)
        steps.append(
          .init(
            "expert \(expert) of `\(layer.axis.instance)` merges into \(nearest)",
            figures: [("cosine", cosine(nearest))]))
      }
      for (expert, group) in groups where group.count > 1 {
        let total = group.reduce(0) { $0 + uses[$1] }
        change.foldedExperts[layer.axis.instance, default: [:]][expert] = group.sorted().map {
          PartShare($0, weight: total > 0 ? uses[$0] / total : 1 / Double(group.count))
        }
      }
    }
    return steps
  }
}
