import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierRestructuring
import NetworkTestSupport
import TestSupport
import Testing

/// Proof (b): a model without units computes what it computes with these units silenced.
@Suite struct SelectionTests {
  /// Axes of units that a description says can be left out, and that cannot be told from silent ones.
  private static let exact: Set<String> = [
    "inner", "expertInner", "sharedInner", "keyValueHeads", "queriesPerGroup", "heads", "valueWidth", "reduced",
    "widened", "between", "state", "hidden",
  ]

  @Test(arguments: Golden.names.map(Golden.init))
  func leavingSilencedUnitsOutChangesNothing(golden: Golden) throws {
    let model = try GoldenModel(golden)
    for (name, instances) in model.axes {
      let base = name.split(separator: ".").last.map(String.init) ?? name
      guard Self.exact.contains(base), instances.allSatisfy({ $0.size > 1 && $0.selection != .none }) else { continue }
      var (change, gone) = (StructuralChange(), [String: Set<Int>]())
      var generator = SeededGenerator(seed: 7)
      for axis in instances {
        // All of one name keep as many: half of them, or all but one.
        let kept = (0..<axis.size).shuffled(using: &generator).prefix(axis.size - axis.size / 2).sorted()
        change.choices[axis.instance] = AxisChoice(kept)
        gone[axis.instance] = Set(0..<axis.size).subtracting(kept)
      }
      try withTemporaryFolder { folder in
        let reference = try model.outputs(of: try model.zeroed(gone, in: folder))
        let found: [NetworkOutput]
        do { found = try model.outputs(of: try model.changed(change)) } catch {
          Issue.record("\(name): \(error)")
          return
        }
        for expected in reference where base != "hidden" || expected.name.contains("logits") {
          guard let output = found.first(where: { $0.name == expected.name }) else {
            Issue.record("\(name): no output \(expected.name)")
            continue
          }
          #expect(distance(expected, output) <= 1e-5, "\(name), \(expected.name)")
        }
      }
    }
  }
}
