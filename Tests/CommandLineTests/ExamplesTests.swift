import EspalierBasics
import TestSupport
import Testing

/// What the documents recommend must work as it stands.
@Suite struct ExamplesTests {
  private static let recipes = (try? FileSystem.list("\(packageFolder)/Examples").filter { $0.hasSuffix(".yml") }) ?? []

  @Test func thereAreRecipes() { #expect(Self.recipes.contains("ties.yml") && Self.recipes.count >= 4) }

  @Test(arguments: recipes) func anExampleMergesAndIsVerified(_ recipe: String) throws {
    try withTemporaryFolder { folder in
      let merge = try Program.run("merge", "\(packageFolder)/Examples/\(recipe)", "-o", "\(folder)/out", "--quiet")
      #expect(merge.code == 0 && merge.errors.isEmpty, "\(merge)")
      let verify = try Program.run("verify", "\(folder)/out")
      #expect(verify.code == 0 && verify.output.contains("all as written"), "\(verify)")
    }
  }

  @Test func theDemonstrationRuns() throws {
    try withTemporaryFolder { folder in
      let demo = try Program.shell("ESPALIER=\"$espalier\" '\(packageFolder)/scripts/demo' '\(folder)/results'")
      #expect(demo.code == 0 && demo.errors.isEmpty, "\(demo)")
      #expect(demo.output.split(separator: "all as written").count == 4, "\(demo)")
      #expect(demo.output.contains("arith_problems.jsonl") && demo.output.contains("91.20 %"), "\(demo)")
      let models = try FileSystem.list("\(folder)/results").filter { !$0.hasSuffix(".report") }
      #expect(
        models.sorted()
          == ["average", "ties", "tuned", "tuned-3.5MB.gguf", "tuned-Q4_K_M.gguf", "tuned-Q8_0.gguf"])
      #expect(demo.output.contains("| tuned-3.5MB.gguf | 34"), "\(demo)")
    }
  }
}
