import EspalierBasics
import EspalierNumerics
import EspalierRecipes
import Testing

/// Whole merges against mergekit's own output: see `Fixtures/merge/README.md`.
@Suite struct GoldenMergesTests {
  static let cases = ((try? FileSystem.list("\(Fixtures.merges)/cases")) ?? []).sorted()

  @Test func allCasesAreThere() { #expect(Self.cases.count == 24) }

  @Test(arguments: cases) func agreesWithMergekit(_ name: String) throws {
    let folder = "\(Fixtures.merges)/cases/\(name)"
    let golden = try OutputModel(folder)
    let found = try Workplace.with { place in
      try run("\(folder)/config.yml", in: place)
      return try OutputModel(place.options.output)
    }
    #expect(found.config == golden.config)
    #expect(found.names == golden.names)
    #expect(found.shapes == golden.shapes)
    #expect(found.types == golden.types)
    if name == "arcee_fusion" {
      try expectTaken(found, golden: golden)
    } else {
      for tensor in golden.names {
        let distance = zip(found.values(tensor), golden.values(tensor)).reduce(0) { max($0, abs($1.0 - $1.1)) }
        #expect(distance <= 1e-6, "\(tensor)")
      }
    }
  }

  private func run(_ recipe: String, in place: Workplace) throws {
    _ = try MergePipeline(recipeAt: recipe, options: place.options, listener: SilentListener())
      .run(listener: SilentListener())
  }

  /// mergekit's mask is decided by rounding noise in a few hundredths of the elements; every element is one of the
  /// inputs' all the same.
  private func expectTaken(_ found: OutputModel, golden: OutputModel) throws {
    let inputs = try ["nanof-base", "nanof-ft1"].map { try OutputModel("\(Fixtures.merges)/models/\($0)") }
    var (total, differing) = (0, 0)
    for tensor in golden.names {
      let (base, other) = (inputs[0].values(tensor), inputs[1].values(tensor))
      let values = found.values(tensor)
      for (index, value) in values.enumerated() where value != base[index] && value != other[index] {
        Issue.record("\(tensor) element \(index) is of neither model")
      }
      total += values.count
      differing += zip(values, golden.values(tensor)).filter { $0 != $1 }.count
    }
    #expect(Double(differing) <= 0.04 * Double(total), "\(differing) of \(total) differ")
  }
}
