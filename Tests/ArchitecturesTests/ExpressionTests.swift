import EspalierBasics
import Testing

@testable import EspalierArchitectures

@Suite struct ExpressionTests {
  private let config: JSON = [
    "hidden": 48, "heads": 6, "flag": true, "kind": "gated-gelu", "nothing": nil, "types": ["a", "b"], "list": [1, 3],
    "part": .literal("0.25"), "whole": .literal("2.0"), "nested": ["inner": 7],
  ]

  private func value(_ source: String) throws -> Value {
    try Expression(parsing: source).evaluate(in: Scope(config: config, defaults: ["implied": .name("heads")]))
  }

  @Test(arguments: [
    ("hidden / heads", 8), ("1 + 2 * 3", 7), ("(1 + 2) * 3", 9), ("10 - 3 - 2", 5), ("-7 // 2", -4), ("7 // -2", -4),
    ("-7 % 3", 2), ("7 % 3", 1), ("missing ?? 5", 5), ("nothing ?? hidden + 1", 49), ("list[1]", 3),
    ("length(list)", 2),
    ("length(nested)", 1), ("flag ? 1 : 2", 1), ("!flag ? 1 : flag ? 2 : 3", 2), ("whole * 2", 4), ("implied", 6),
    ("portion(heads, part)", 1), ("portion(16, part) // 2", 2), ("portion(3, 1)", 3), ("nested.inner", 7),
    ("missing[0] ?? 4", 4), ("written(hidden)", 48), ("written(implied) ?? 9", 9), ("written(nothing) ?? 3", 3),
    ("written(nested.inner)", 7),
  ])
  func numbers(_ source: String, _ expected: Int) throws { #expect(try value(source) == .integer(expected)) }

  @Test(arguments: [
    ("3 in list", true), ("2 in list", false), ("types[0] == 'a'", true), ("1 + 1 == 2 and flag", true),
    ("false or hidden > 47", true), ("hidden >= 49 or heads <= 5", false), ("startsWith(kind, 'gated')", true),
    ("endsWith(kind, 'relu')", false), ("heads != 6", false), ("(missing ?? 0) > 0", false), ("true or missing", true),
  ])
  func conditions(_ source: String, _ expected: Bool) throws { #expect(try value(source) == .truth(expected)) }

  @Test(arguments: [
    ("missing", "the config lacks `missing`"), ("missing + 1", "the config lacks `missing`"),
    ("missing == 1", "the config lacks `missing`"), ("nothing", "the config lacks `nothing`"),
    ("flag", "`flag` should be a whole number, but is true"),
    ("part", "`part` should be a whole number, but is 0.25"), ("hidden / 5", "48 / 5 leaves a remainder"),
    ("hidden / 0", "48 / 0 cannot be computed"), ("hidden % 0", "48 % 0 cannot be computed"),
    ("list[2]", "`list` has 2 entries, entry 2 is wanted"), ("list[-1]", "`list` has 2 entries, entry -1 is wanted"),
    ("9223372036854775807 + 1", "9223372036854775807 + 1 cannot be computed"),
    ("-9223372036854775807 - 2", "-9223372036854775807 - 2 cannot be computed"),
    ("4611686018427387904 * 2", "4611686018427387904 * 2 cannot be computed"),
  ])
  func whatCannotBeComputedSaysWhy(_ source: String, _ message: String) throws {
    let problem = try #require(throws: Problem.self) { try number(source) }
    #expect(problem.message == message)
  }

  private func number(_ source: String) throws -> Int {
    try Expression(parsing: source).integer(in: Scope(config: config))
  }

  @Test func defaultsInACircleAreRefused() throws {
    let scope = Scope(config: [:], defaults: ["a": .name("b"), "b": .name("a")])
    #expect(throws: Problem.self) { try scope.lookUp("a") }
  }

  @Test(arguments: [
    "", "1 +", "a b", "(a", "a ? b", "a ? b :", "f(a)", "length()", "length(a, b)", "'open", "a[1", "#", "1.5",
    "99999999999999999999", "a ==", "and", "a | b", String(repeating: "(", count: 1000),
    String(repeating: "-", count: 999),
    "1" + String(repeating: " + 1", count: 100_000),
  ])
  func malformedExpressionsAreRefused(_ source: String) {
    let problem = #expect(throws: Problem.self) { try Expression(parsing: source) }
    #expect(problem?.code == .architectureDescription)
  }
}
