import EspalierBasics
import TestSupport
import Testing

/// What we write, transformers must be able to load, with every weight in its place.
@Suite struct PeersTests {
  private static let python = FileSystem.environment("ESPALIER_PYTHON") ?? "python3"
  private static let hasTransformers =
    (try? Program.shell("'\(python)' -c 'import torch, transformers'").code) == 0

  private static let recipes = [
    "ties": """
    merge_method: ties
    base_model: nanof-base
    models:
      - model: nanof-ft1
        parameters: {weight: 0.5, density: 0.5}
      - model: nanof-ft2
        parameters: {weight: 0.5, density: 0.5}
    dtype: bfloat16
    """,
    "layers": """
    merge_method: passthrough
    slices:
      - sources: [{model: nanof-ft1, layer_range: [0, 2]}]
      - sources: [{model: nanof-ft2, layer_range: [1, 3]}]
    """,
    "vocabulary": """
    merge_method: linear
    models:
      - model: tiny-tok1
        parameters: {weight: 0.5}
      - model: tiny-base
        parameters: {weight: 0.5}
    tokenizer: {source: union}
    """,
  ]

  @Test(.enabled(if: hasTransformers, "NOT RUN: \(python) has no transformers; name another in ESPALIER_PYTHON"))
  func transformersLoadsWhatWeWrite() throws {
    try withTemporaryFolder { folder in
      for (name, recipe) in Self.recipes.sorted(by: { $0.key < $1.key }) {
        try write(recipe, to: "\(folder)/\(name).yml")
        let merge = try Program.run(
          "merge", "\(folder)/\(name).yml", "-o", "\(folder)/\(name)",
          "--models", "\(packageFolder)/Tests/RecipesTests/Fixtures/merge/models")
        #expect(merge.code == 0, "\(name): \(merge)")
      }
      let folders = Self.recipes.keys.sorted().map { "'\(folder)/\($0)'" }.joined(separator: " ")
      let loaded = try Program.shell(
        "'\(Self.python)' '\(packageFolder)/Tests/Peers/load_in_transformers.py' \(folders)")
      #expect(loaded.code == 0, "\(loaded)")
    }
  }
}
