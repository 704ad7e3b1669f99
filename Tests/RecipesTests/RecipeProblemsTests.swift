import EspalierBasics
import EspalierRecipes
import TestSupport
import Testing

/// What is wrong with a recipe's text, found before any model is looked for.
@Suite struct RecipeProblemsTests {
  private static func problems(_ text: String) -> [Problem] {
    var warnings: [Problem] = []
    do {
      _ = try Recipe.read(text, file: "r.yml", warnings: &warnings)
      return warnings
    } catch { return error.all }
  }

  /// A recipe with one thing wrong: the code, the line, and a part of what is said.
  struct Case: Sendable, CustomTestStringConvertible {
    var text: String
    var code: String
    var line: Int?
    var says: String
    var testDescription: String { says }

    init(_ text: String, _ code: String, line: Int?, _ says: String) {
      self.text = text
      self.code = code
      self.line = line
      self.says = says
    }
  }

  private static let linear = "merge_method: linear\nmodels: [{model: a}]\n"

  static let keys: [Case] = [
    Case(linear + "dytpe: float32", "recipe.unknown-key", line: 3, "did you mean dtype?"),
    Case(linear + "parameters: {wieght: 1}", "recipe.unknown-key", line: 3, "did you mean weight?"),
    Case(
      "merge_method: linear\nmodels:\n- model: a\n  paramters: {}", "recipe.unknown-key", line: 4,
      "did you mean parameters?"),
    Case(
      "merge_method: linear\nslices:\n- sources:\n  - {model: a, layer_range: [0, 1]}\n  base: b", "recipe.unknown-key",
      line: 5, "a slice has no key \"base\""),
    Case(
      linear + "tokenizer: {pad_to_multiples_of: 8}", "recipe.unknown-key", line: 3, "did you mean pad_to_multiple_of?"),
    Case(linear + "parameters: {weight: {fliter: x, value: 1}}", "recipe.unknown-key", line: 3, "did you mean filter?"),
    Case("merge_method: liner\nmodels: [{model: a}]", "recipe.value", line: 1, "did you mean linear?"),
    Case("models: [{model: a}]", "recipe.value", line: 1, "names no merge_method"),
  ]

  static let values: [Case] = [
    Case("merge_method: linear", "recipe.value", line: 1, "neither models nor slices nor modules"),
    Case("merge_method: linear\nmodels: [{model: a}]\nslices: []", "recipe.value", line: 1, "models and slices"),
    Case("merge_method: linear\nmodels: []", "recipe.value", line: 2, "at least one entry"),
    Case("merge_method: linear\nmodels: {a: b}", "recipe.value", line: 2, "must be a list"),
    Case("merge_method: linear\nmodels: [a]", "recipe.value", line: 2, "must be a map"),
    Case("merge_method: linear\nmodels: [{parameters: {}}]", "recipe.value", line: 2, "model is missing"),
    Case("merge_method: linear\nmodels: [{model: [a]}]", "recipe.value", line: 2, "a path or a hub name"),
    Case("merge_method: linear\nmodules: []", "recipe.value", line: 2, "modules must be a map"),
    Case(linear + "dtype: float33", "recipe.value", line: 3, "did you mean float32?"),
    Case(linear + "dtype: int64", "recipe.value", line: 3, "not a type to merge in"),
    Case(linear + "parameters: 3", "recipe.value", line: 3, "parameters must be a map"),
    Case(linear + "parameters: {weight: heavy}", "recipe.value", line: 3, "weight must be a number"),
    Case(linear + "parameters: {weight: []}", "recipe.value", line: 3, "weight must be a number"),
    Case(linear + "parameters: {normalize: maybe}", "recipe.value", line: 3, "normalize must be true or false"),
    Case(linear + "parameters: {weight: {filter: x}}", "recipe.value", line: 3, "value is missing"),
    Case(linear + "tokenizer: {pad_to_multiple_of: 0}", "recipe.value", line: 3, "a whole number from 1"),
    Case(linear + "tokenizer: {}\ntokenizer_source: base", "recipe.value", line: 4, "exclude each other"),
    Case(linear + "tokenizer: {tokens: {x: {source: {kind: odd}}}}", "recipe.value", line: 3, "kind \"odd\""),
    Case(
      linear + "tokenizer: {tokens: {x: {source: {kind: model_token, model: a}}}}", "recipe.value", line: 3,
      "either token_id or token"),
    Case(linear + "tokenizer: {tokens: [x]}", "recipe.value", line: 3, "tokens must be a map"),
    Case(
      linear + "tokenizer: {tokens: {x: {force: \"true\"}}}", "recipe.value", line: 3, "force must be true or false"),
    Case(
      linear + "tokenizer: {tokens: {x: {source: {kind: model_token, model: a, token_id: one}}}}", "recipe.value",
      line: 3, "token_id must be a whole number"),
    Case(
      linear + "parameters: {weight: {filter: [mlp], value: 1}}", "recipe.value", line: 3, "filter must be text"),
    Case(linear + "name: [a]", "recipe.value", line: 3, "name must be text"),
    Case(linear + "base_model: {model: {path: a, revision: [b]}}", "recipe.value", line: 3, "revision must be text"),
    Case(linear + "chat_template: [a]", "recipe.value", line: 3, "chat_template must be text"),
    Case("", "recipe.value", line: 1, "the recipe is empty"),
    Case("- a\n- b", "recipe.value", line: 1, "must be a map"),
  ]

  private static func slice(_ range: String) -> String {
    "merge_method: passthrough\nslices:\n- sources:\n  - {model: a, layer_range: \(range)}\n"
  }

  static let ranges: [Case] = [
    Case(slice("[2, 2]"), "recipe.value", line: 4, "is empty"),
    Case(slice("[3, 1]"), "recipe.value", line: 4, "is empty"),
    Case(slice("[-1, 2]"), "recipe.value", line: 4, "not a pair of layer numbers"),
    Case(slice("[0, 1, 2]"), "recipe.value", line: 4, "not a pair of layer numbers"),
    Case(slice("[0.5, 2]"), "recipe.value", line: 4, "not a pair of layer numbers"),
    Case(slice("4"), "recipe.value", line: 4, "not a pair of layer numbers"),
    Case(slice("[0, 2]") + "  - {model: b, layer_range: [0, 3]}", "recipe.value", line: 5, "take 2 and 3 layers"),
    Case(
      "merge_method: passthrough\nslices:\n- sources:\n  - {model: a}", "recipe.value", line: 4,
      "layer_range is missing"),
    Case(
      "merge_method: slerp\nmodels: [{model: a}]\nparameters: {t: 5}", "parameter.range", line: 3,
      "t is 5 but must be a number from 0 to 1"),
    Case("merge_method: slerp\nmodels: [{model: a}]\nparameters: {t: [0, .nan]}", "recipe.value", line: 3, "t must be"),
    Case("merge_method: slerp\nmodels: [{model: a}]\nparameters: {t: .inf}", "parameter.range", line: 3, "t is inf"),
    Case(
      "merge_method: ties\nmodels:\n- model: a\n  parameters: {density: 50}", "parameter.range", line: 4,
      "density is 50"),
    Case(
      "merge_method: karcher\nmodels: [{model: a}]\nparameters: {max_iter: 2.5}", "parameter.range", line: 3,
      "whole number"),
    Case(
      "merge_method: dare_ties\nmodels: [{model: a}]\nparameters: {rescale: l2}", "parameter.range", line: 3,
      "must be one of l1, inverse_density"),
  ]

  static let syntax: [Case] = [
    Case("merge_method: [", "recipe.syntax", line: nil, "not YAML"),
    Case("a: b: c", "recipe.syntax", line: nil, "not YAML"),
    Case(linear + "dtype: float32\ndtype: float16", "recipe.syntax", line: nil, ""),
    Case("? [a, b]\n: c", "recipe.syntax", line: 1, "a key is not a word"),
    Case(linear + "---\nmerge_method: [", "recipe.syntax", line: nil, "not YAML"),
    Case("merge_method: *nowhere", "recipe.syntax", line: nil, "not YAML"),
    Case(
      String(repeating: "[", count: 100) + String(repeating: "]", count: 100), "recipe.syntax", line: 1,
      "nested too deeply"),
  ]

  @Test(arguments: keys + values + ranges + syntax) func oneProblem(_ item: Case) throws {
    let found = Self.problems(item.text)
    let problem = try #require(found.first, "nothing was found wrong")
    #expect(found.count == 1, "\(found)")
    #expect(problem.code.rawValue == item.code)
    #expect(problem.severity == .error)
    #expect(problem.context.file == "r.yml")
    if let line = item.line { #expect(problem.context.recipeLine == line) }
    #expect(problem.message.contains(item.says), "\(problem.message)")
  }

  /// What mergekit accepts and ignores is a warning.
  static let ignored: [Case] = [
    Case(
      "merge_method: linear\nmodels: [{model: a, layer_range: [0, 2]}]", "recipe.ignored", line: 2,
      "layer_range has no effect"),
    Case(
      "merge_method: passthrough\nslices:\n- sources: [{model: a, layer_range: [0, 2]}]\n  residual_weight: 0.5",
      "recipe.ignored", line: 4, "residual_weight has no effect"),
    Case(linear + "parameters: {density: 0.5}", "recipe.ignored", line: 3, "linear has no parameter density"),
    Case(
      "merge_method: linear\nmodels:\n- model: {model: a, override_architecture: X}", "recipe.ignored", line: 3,
      "override_architecture has no effect"),
  ]

  @Test(arguments: ignored) func ignoredWithAWarning(_ item: Case) throws {
    let found = Self.problems(item.text)
    #expect(found.map(\.code.rawValue) == [item.code])
    #expect(found.map(\.severity) == [.warning])
    #expect(found.map(\.context.recipeLine) == [item.line])
    #expect(found.first?.message.contains(item.says) == true)
  }

  @Test func allAreReportedAtOnce() {
    let found = Self.problems(
      """
      merge_method: ties
      models:
        - model: a
          parameters: {density: 50, wieght: 1}
        - parameters: {}
      dtype: flaot32
      unknown: 1
      """)
    let lines = found.compactMap(\.context.recipeLine)
    #expect(Set(lines) == [4, 5, 6, 7], "\(found)")
    #expect(found.count == 5)
    #expect(found.allSatisfy { $0.context.file == "r.yml" })
  }

  /// Nine lines of aliases that stand for a billion nodes are refused, and quickly.
  @Test func bombs() throws {
    var text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    for level in 1...9 {
      let list = Array(repeating: "*a\(level - 1)", count: 10).joined(separator: ", ")
      text += "a\(level): &a\(level) [\(list)]\n"
    }
    let clock = ContinuousClock()
    let start = clock.now
    #expect(Self.problems(text).map(\.code.rawValue) == ["recipe.syntax"])
    #expect(clock.now - start < .seconds(20))
  }
}
