public import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints

/// Something of a model's structure that may leave by itself: a block, a group of channels, a head, an expert.
struct Removal: Sendable {
  /// What is done, as a step of the report.
  let text: String
  /// Takes it out as well; false where it has to stay, since of its kind nothing else is left.
  let apply: @Sendable (inout StructuralChange) -> Bool
}

/// Takes one thing after the other out of a model, each time that without which its predictions move least.
struct GreedyRemoval {
  private let subject: any StructuralSubject
  private(set) var change = StructuralChange()
  private(set) var checkpoint: RestructuredCheckpoint
  private(set) var steps: [Restructured.Step] = []
  /// Of the model as it is now, from the original.
  private var divergence = 0.0
  private let isLazy: Bool

  /// - Parameter isLazy: measures a candidate again only if by what it cost when it was measured last it would be next.
  ///   That chooses the same as measuring all each time wherever no candidate becomes cheaper as others leave.
  init(_ subject: any StructuralSubject, isLazy: Bool) throws(Problem) {
    (self.subject, self.isLazy) = (subject, isLazy)
    checkpoint = try subject.changed(change)
  }

  /// Numbers that are left.
  var parameters: Int { ParameterCount.of(checkpoint, described: checkpoint.description) }

  /// - Parameters:
  ///   - queues: what may leave, in the order in which it may: only the first of each is looked at.
  ///   - goal: numbers that are to be left at most.
  ///   - least: what would leave fewer stays. Nil: the last step may go as far below the goal as it does.
  /// - Returns: whether the goal is reached.
  mutating func remove(_ queues: [[Removal]], until goal: Int, notBelow least: Int? = nil) throws(Problem) -> Bool {
    var queues = queues.map { $0[...] }
    /// What the first of each queue added to the divergence when it was measured last.
    var costs = [Double?](repeating: nil, count: queues.count)
    while parameters > goal {
      if !isLazy { costs = costs.map { _ in nil } }
      guard let (index, changed, candidate, reached) = try cheapest(&queues, &costs, notBelow: least) else {
        return false
      }
      (change, checkpoint, divergence) = (changed, candidate, reached)
      steps.append(.init(queues[index].removeFirst().text, figures: [("divergence", reached)]))
      subject.progress("\(steps[steps.count - 1].text), \(parameters) numbers left")
    }
    return true
  }

  private func cheapest(
    _ queues: inout [ArraySlice<Removal>], _ costs: inout [Double?], notBelow least: Int?
  ) throws(Problem) -> (index: Int, change: StructuralChange, checkpoint: RestructuredCheckpoint, divergence: Double)? {
    /// Those measured on the model as it is now.
    var fresh: [Int: (StructuralChange, RestructuredCheckpoint, Double)] = [:]
    while let index = first(queues, costs) {
      if let (changed, candidate, reached) = fresh[index] { return (index, changed, candidate, reached) }
      guard let removal = queues[index].first else { return nil }
      var changed = change
      guard removal.apply(&changed) else {
        queues[index] = []
        continue
      }
      let candidate = try subject.changed(changed)
      if let least, ParameterCount.of(candidate, described: candidate.description) < least {
        queues[index] = []
        continue
      }
      let reached = try subject.divergence(of: candidate, named: removal.text)
      costs[index] = reached - divergence
      fresh[index] = (changed, candidate, reached)
    }
    return nil
  }

  /// The queue with the least known cost; those that are not measured yet come first.
  private func first(_ queues: [ArraySlice<Removal>], _ costs: [Double?]) -> Int? {
    queues.indices.filter { !queues[$0].isEmpty }.min { a, b in
      (costs[a] ?? -.infinity, a) < (costs[b] ?? -.infinity, b)
    }
  }
}

extension StructuralModel {
  /// The fewest numbers that are left when one thing after the other leaves, as headers tell.
  ///
  /// - Parameters:
  ///   - queues: what may leave. Of what is refused for nothing else would be left, as blocks are, anything may be the last.
  ///   - goal: what suffices; nothing less is looked for.
  func leastNumbers(after queues: [[Removal]], until goal: Int) throws(Problem) -> Int {
    var least = Int.max
    for last in queues.indices.reversed() {
      var change = StructuralChange()
      var isRefused = false
      for queue in queues[..<last] + queues[(last + 1)...] + [queues[last]] {
        for removal in queue {
          guard removal.apply(&change) else {
            isRefused = true
            break
          }
        }
      }
      let left = try changed(change)
      least = min(least, ParameterCount.of(left, described: left.description))
      if least <= goal || !isRefused { break }
    }
    return least
  }

  /// The model after a change.
  func changed(_ change: StructuralChange) throws(Problem) -> RestructuredCheckpoint {
    do throws(Problems) {
      return try RestructuredCheckpoint(checkpoint, of: family, change: change)
    } catch { throw error.all.first ?? Problem(.restructuring, "the model cannot be changed") }
  }

  /// The tower whose layers may leave.
  ///
  /// - Throws: `restructuring` if there is none of more than one layer.
  func layeredTower() throws(Problem) -> ModelDescription.Tower {
    guard let tower = description.layeredTower else {
      throw Problem(.restructuring, "a \(family.name) has no layers that could leave")
    }
    return tower
  }
}

extension ModelDescription {
  /// The first tower whose layers can leave; nil without one.
  public var layeredTower: Tower? { towers.first { $0.layerCount > 1 && $0.layerCountKey != nil } }
}
