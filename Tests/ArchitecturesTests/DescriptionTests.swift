import EspalierBasics
import Testing

@testable import EspalierArchitectures

/// Reading descriptions: the built-in ones, and a user's with mistakes.
@Suite struct DescriptionTests {
  @Test func theProgramHoldsEveryFamilyFile() throws {
    let files = entries(of: "../../Sources/Architectures/Families")
    #expect(files == Architecture.builtIn().map { "\($0.name).json" })
    for file in files {
      let text = String(decoding: try readBytes("../../Sources/Architectures/Families/\(file)"), as: UTF8.self)
      #expect(Architecture.builtInSource(named: String(file.dropLast(5))) == text)
    }
  }

  @Test func noTwoFamiliesClaimOneModel() {
    let families = Architecture.builtIn()
    for names in [families.flatMap(\.modelTypes), families.flatMap(\.classes)] {
      #expect(Set(names).count == names.count)
    }
  }

  /// Every family is exercised by a saved model.
  @Test func everyFamilyHasAFixture() throws {
    var used: Set<String> = []
    for name in Fixture.names { used.insert(try Fixture(name).described().architecture) }
    #expect(Architecture.builtIn().map(\.name).filter { !used.contains($0) } == [])
  }

  private let small = """
    {"name": "small", "modelTypes": ["small"],
     "axes": {"hidden": {"scope": "model", "size": "width"}},
     "towers": {"text": {"layers": "depth",
       "layer": {"layers.{layer}.weight": {"role": "norm", "shape": ["hidden"]}}}}}
    """

  private func load(_ text: String) throws -> Architecture {
    let json = try JSON(parsing: text)
    return try Architecture.load(parsing: json, file: "mine.json")
  }

  @Test func aUsersFamily() throws {
    let model = try load(small).describe(config: ["width": 5, "depth": 2])
    #expect(model.parameters.map(\.name) == ["layers.0.weight", "layers.1.weight"])
    #expect(model.parameters.map(\.shape) == [[5], [5]])
    #expect(model.towers.map(\.layerCountKey) == [["depth"]])
  }

  @Test(arguments: [
    ("\"norm\"", "\"nrom\"", "at towers.text.layer.layers.{layer}.weight.role: unknown role `nrom`"),
    ("[\"hidden\"]", "[\"hiden\"]", "at towers.text.layer.layers.{layer}.weight.shape: unknown axis `hiden`"),
    (
      "[\"hidden\"]", "[\"hidden *\"]",
      "at towers.text.layer.layers.{layer}.weight.shape[0]: in `hidden *`: expected an axis or a number, found the end"
    ),
    ("\"width\"", "\"width +\"", "at axes.hidden.size: in `width +`: expected a value, found the end"),
    (
      "\"scope\": \"model\"", "\"scope\": \"world\"",
      "at axes.hidden.scope: expected one of `model`, `tower`, `layer`, `expert`, `head`"
    ),
    ("{layer}", "{lair}", "at towers.text.layer.layers.{lair}.weight: unknown placeholder `{lair}`"),
    ("\"layer\":", "\"after\":", "at towers.text.after.layers.{layer}.weight: `{layer}` outside `layer`"),
    ("[\"small\"]", "[]", "at modelTypes: a family needs a model type or a class to be recognised by"),
    ("\"name\":", "\"nmae\":", "at name: expected a text"),
    (
      "\"shape\"", "\"optional\": 1, \"shape\"",
      "at towers.text.layer.layers.{layer}.weight.optional: expected true or false"
    ),
    (
      "\"shape\"", "\"tied\": {\"other\": true}, \"shape\"",
      "at towers.text.layer.layers.{layer}.weight: refers to `other`, which is not described"
    ),
    (
      "\"layers\": \"depth\"", "\"layers\": \"depth\", \"writes\": {\"k\": {\"count\": \"dense\"}}",
      "at towers.text.writes.k: unknown kind `dense`"
    ),
    ("\"layers\": \"depth\",", "", "at towers.text: `layer` without `layers`, their number"),
  ])
  func mistakesAreNamed(_ good: String, _ bad: String, _ message: String) throws {
    let text = small.replacing(good, with: bad)
    #expect(text != small)
    let problems = try #require(throws: Problems.self) { try load(text) }
    #expect(problems.all.map(\.message).contains(message), "\(problems)")
    #expect(problems.all.allSatisfy { $0.code == .architectureDescription && $0.context.file == "mine.json" })
  }

  @Test func oneNameTwiceIsRefused() throws {
    let text = small.replacing(
      "\"layers\": \"depth\",",
      with: "\"layers\": \"depth\", \"after\": {\"layers.1.weight\": {\"role\": \"norm\", \"shape\": [\"hidden\"]}},")
    let family = try load(text)
    #expect(throws: Problem(.architectureDescription, "the family small describes `layers.1.weight` twice")) {
      try family.describe(config: ["width": 5, "depth": 2])
    }
  }

  @Test func allMistakesAreReportedAtOnce() throws {
    let text = small.replacing("\"norm\"", with: "\"nrom\"").replacing("\"width\"", with: "\"width +\"")
    let problems = try #require(throws: Problems.self) { try load(text) }
    #expect(problems.all.count >= 2)
  }

  @Test(arguments: [
    "[]", "3", "null", "{}", "{\"towers\": []}", "{\"axes\": {\"a\": 1}}", "{\"towers\": {\"t\": {\"layer\": 1}}}",
  ])
  func otherJSONIsRefused(_ text: String) throws {
    let problems = try #require(throws: Problems.self) { try load(text) }
    #expect(!problems.all.isEmpty)
  }

  /// Cutting, dropping or doubling any line of a family's file never traps: it loads, or says what is wrong.
  @Test(arguments: ["resnet", "deepseek_v3", "gemma3"]) func damagedFamilies(_ name: String) throws {
    let source = try #require(Architecture.builtInSource(named: name))
    let lines = source.split(separator: "\n").map(String.init)
    var refused = 0
    for index in lines.indices {
      for replacement in [[], [lines[index], lines[index]], [String(lines[index].dropLast(3))]] {
        var damaged = lines
        damaged.replaceSubrange(index...index, with: replacement)
        do { _ = try load(damaged.joined(separator: "\n")) } catch { refused += 1 }
      }
    }
    #expect(refused > lines.count)
  }
}
