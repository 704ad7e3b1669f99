import EspalierBasics
import Testing

@testable import EspalierCheckpoints

@Suite struct RegularExpressionTests {
  /// Pattern, texts that Python's `re.fullmatch` matches, and texts that it does not.
  static let cases: [(String, [String], [String])] = [
    ("", [""], ["a"]),
    ("abc", ["abc"], ["ab", "abcd", ""]),
    ("a.c", ["abc", "a.c", "aéc"], ["ac", "a\nc"]),
    ("a*b+c?", ["b", "aabbc", "abb"], ["", "ac", "abcc"]),
    ("(a|b)*c", ["c", "ababc"], ["abd", "ab"]),
    ("a|bc|", ["a", "bc", ""], ["b", "ab"]),
    ("(?:ab){2,3}", ["abab", "ababab"], ["ab", "abababab"]),
    ("a{2}", ["aa"], ["a", "aaa"]),
    ("a{,2}b", ["b", "aab"], ["aaab"]),
    ("a{2,}?", ["aa", "aaaaa"], ["a"]),
    ("a{b}", ["a{b}"], ["ab"]),
    ("[a-c_]+", ["abc_"], ["abd", ""]),
    ("[^.]*\\.x", ["abc.x", ".x"], ["a.b.x"]),
    ("[]a]+", ["]a]"], ["b"]),
    ("[a-]+", ["a-"], ["b"]),
    ("[\\d.]+", ["1.5"], ["a"]),
    ("\\w+\\s\\W", ["ab ."], ["ab.."]),
    ("\\bq_proj\\b", ["q_proj"], ["xq_proj"]),
    (".*\\bmlp\\b.*", ["layers.0.mlp.up", "mlp"], ["layers.0.xmlp.up"]),
    ("^model$", ["model"], ["models"]),
    ("(a*)*b", ["b", "aaab"], ["aaa"]),
    (
      ".*\\.layers\\.(1|3)\\.(self_attn|mlp)\\.(q|up)_proj", ["model.layers.3.mlp.up_proj"],
      ["model.layers.2.mlp.up_proj"]
    ),
    (
      "model\\.layers\\.[\\d]{1,}\\..*?(?:q_proj|k_proj)", ["model.layers.12.self_attn.k_proj"],
      ["model.layers.x.k_proj"]
    ),
  ]

  @Test(arguments: cases) func matchesWhatPythonMatches(_ pattern: String, _ yes: [String], _ no: [String]) throws {
    let expression = try RegularExpression(pattern)
    for text in yes { #expect(expression.matches(text), "\(pattern) matches \(text)") }
    for text in no { #expect(!expression.matches(text), "\(pattern) does not match \(text)") }
  }

  @Test(arguments: [
    "(", ")", "a)", "[", "[z-a]", "*", "a**", "a{3,2}", "\\", "(?=a)", "(?!a)", "(?P<n>a)", "(a)\\1", "\\p{L}",
    "a{99999}", "((a{1000}){1000}){1000}", "(((){1000}){1000}){1000}", String(repeating: "(", count: 100),
  ])
  func whatIsWrongOrUnsupportedIsAProblem(_ pattern: String) {
    #expect(throws: Problem.self) { try RegularExpression(pattern) }
  }

  @Test func timeDoesNotExplode() throws {
    let text = String(repeating: "a", count: 2000)
    #expect(!(try RegularExpression("(a+)+(a*)*(a|a)*b").matches(text)))
  }
}
