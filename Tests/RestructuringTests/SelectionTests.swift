import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierRestructuring
import NetworkTestSupport
import TestSupport
import Testing

/// Proof (b): a model without units computes what it computes with these units silenced, wherever the axis is declared
/// exact; where it is declared approximate, it runs.
@Suite struct SelectionTests {
  /// Axes that one config key stores, and that change together.
  private static let together = [["heads", "crossHeads"]]

  @Test(arguments: Golden.names.map(Golden.init))
  func leavingSilencedUnitsOutChangesNothing(golden: Golden) throws {
    let model = try GoldenModel(golden)
    var tried = 0
    for axes in groups(of: model) {
      let instances = axes.flatMap(\.instances)
      let name = axes.map(\.name).joined(separator: " and ")
      guard instances.allSatisfy({ $0.size > 1 && $0.selection != .none && !$0.isVocabulary }) else { continue }
      // Positions and kinds of segments are told by their numbers.
      if ["positions", "types", "labels"].contains(axes[0].base) { continue }
      var (change, gone) = (StructuralChange(), [String: Set<Int>]())
      var generator = SeededGenerator(seed: 7)
      for axis in instances {
        let kept = (0..<axis.size).shuffled(using: &generator).prefix(axis.size - axis.size / 2).sorted()
        change.choices[axis.instance] = AxisChoice(kept)
        gone[axis.instance] = Set(0..<axis.size).subtracting(kept)
      }
      tried += 1
      let isExact = instances.allSatisfy { $0.selection == .exact }
      try withTemporaryFolder { folder in
        let reference = try model.outputs(of: try model.zeroed(gone, in: folder))
        let found: [NetworkOutput]
        do { found = try model.outputs(of: try model.changed(change)) } catch {
          // Where the width of heads follows from the model's, its config cannot say that only one of them changed.
          #expect(
            !isExact && (error as? Problems)?.all.allSatisfy { $0.code == .architectureInverse } == true,
            "\(name): \(error)")
          return
        }
        for expected in reference where axes[0].base != "hidden" || expected.name.contains("logits") {
          guard let output = found.first(where: { $0.name == expected.name }) else {
            Issue.record("\(name): no output \(expected.name)")
            continue
          }
          #expect(
            distance(expected, output) <= (isExact ? 1e-5 : .greatestFiniteMagnitude), "\(name), \(expected.name)")
        }
      }
    }
    #expect(tried > 0 || golden.name.hasPrefix("resnet"))
  }

  /// Means of a norm in groups are those that they were where whole groups leave.
  @Test func silentGroupsOfStateSpacesLeaveNoTrace() throws {
    let model = try GoldenModel(Golden("mamba2_options_variant"))
    var (change, gone) = (StructuralChange(), [String: Set<Int>]())
    for axis in model.description.axes where axis.name == "groups" {
      #expect(axis.size == 2)
      change.choices[axis.instance] = AxisChoice([1])
      gone[axis.instance] = [0]
    }
    try withTemporaryFolder { folder in
      let reference = try model.outputs(of: try model.zeroed(gone, in: folder))
      let found = try model.outputs(of: try model.changed(change))
      #expect(!reference.isEmpty && reference.count == found.count)
      for (expected, output) in zip(reference, found) {
        #expect(distance(expected, output) <= 1e-5, "\(expected.name)")
      }
    }
  }

  private func groups(of model: GoldenModel) -> [[(name: String, base: String, instances: [Axis])]] {
    var left = model.axes.map {
      (name: $0.name, base: String($0.name.split(separator: ".").last ?? ""), instances: $0.instances)
    }
    var groups: [[(name: String, base: String, instances: [Axis])]] = []
    while !left.isEmpty {
      let first = left.removeFirst()
      let others = Self.together.first { $0.contains(first.base) } ?? []
      groups.append([first] + left.filter { others.contains($0.base) })
      left.removeAll { others.contains($0.base) }
    }
    return groups
  }
}
