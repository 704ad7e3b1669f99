import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// Budgets that are dealt out by what each matrix does to the model.
@Suite struct MeasuredEffectTests {
  /// Matrices of equal curves; only one of them matters.
  private func table(_ effects: [Double?]) throws -> SensitivityTable {
    try SensitivityTable(
      .init(method: "wanda", norm: "outputs", effects: effects.first == 4 ? "a text" : nil),
      rows: effects.enumerated().map { index, effect in
        .init(
          name: "m\(index)", shape: [8, 8], site: nil, denseBytes: 128, outputEnergy: 1, effect: effect,
          levels: [(0.25, 48, 0.1), (0.5, 32, 0.3), (0.75, 16, 0.6)].map {
            .init(budget: .sparsity($0.0), numbers: $0.1, bytes: 2 * $0.1, relativeError: $0.2, kind: .measured)
          })
      })
  }

  @Test func whatMattersIsSpared() throws {
    let table = try table([4, 0.25, 0.25])
    #expect(table.standardObjective == .effect)
    let assignment = try table.allocation(for: .sparsity(0.5), .effect)
    #expect(assignment.levels == [.sparsity(0.25), .sparsity(0.5), .sparsity(0.75)])
    // 4 (0.1)² + 0.25 (0.3)² + 0.25 (0.6)²
    #expect(abs(assignment.allocation.error - 0.1525) < 1e-12)
    let alike = try table.allocation(for: .sparsity(0.5), .relative)
    #expect(alike.levels == [.sparsity(0.5), .sparsity(0.5), .sparsity(0.5)])
  }

  @Test func theFileKeepsThem() throws {
    let table = try table([4, 0, 1e-3])
    #expect(try SensitivityTable(parsing: table.json.bytes()) == table)
    #expect(table.record.effects == "a text" && table.text.contains("effects on a text"))
    #expect(table.text.contains("effect") && table.json["matrices"]?[2]?["effect"]?.number == 1e-3)
    let without = try self.table([nil, nil])
    #expect(!without.text.contains("effect") && without.json["matrices"]?[0]?["effect"] == nil)
  }

  @Test func whatIsMissingOrNoEffectIsRefused() throws {
    let table = try table([4, nil])
    #expect(table.standardObjective == .relative)
    let found = problem { try table.allocation(for: .sparsity(0.5), .effect) }
    #expect(found?.context.tensor == "m1" && found?.remedy?.contains("--effect-text") == true)
    for bad in [-1, Double.nan, .infinity, .greatestFiniteMagnitude * 4] {
      #expect(problem { try self.table([bad]) }?.code == .sensitivityFormat)
    }
  }
}
