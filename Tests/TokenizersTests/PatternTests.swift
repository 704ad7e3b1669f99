import EspalierBasics
import Foundation
import TestSupport
import Testing

@testable import EspalierTokenizers

/// Regular expressions of tokenizers.
@Suite struct PatternTests {
  private func matches(_ pattern: Pattern, _ text: String) throws -> [Range<Int>] {
    var ranges: [Range<Int>] = []
    let result: Result<Void, Problem> = Array(text.utf8).withUnsafeBufferPointer { bytes in
      do throws(Problem) { return .success(try pattern.forEachMatch(in: bytes) { ranges.append($0) }) } catch {
        return .failure(error)
      }
    }
    try result.get()
    return ranges
  }

  private func matches(_ expression: String, _ text: String) throws -> [String] {
    let bytes = Array(text.utf8)
    return try matches(try Pattern(regularExpression: expression), text).map {
      String(decoding: bytes[$0], as: UTF8.self)
    }
  }

  @Test func workedByHand() throws {
    #expect(try matches("a+?b|c{2}", "aab ccc") == ["aab", "cc"])
    #expect(try matches("(?i:'s)", "'S 's 'ſ 't") == ["'S", "'s", "'ſ"])
    // Possessive repeats give nothing back; the interval's plus repeats it.
    #expect(try matches("a++a", "aaa") == [])
    #expect(try matches("a{1,2}+", "aaaaa") == ["aaaaa"])
    #expect(try matches(#"(?<=\d)(?=(?:\d{3})+\b)"#, "1234567").count == 2)
    #expect(try matches(#"[a-z&&[^aeiou]]+"#, "bcdefg") == ["bcd", "fg"])
    #expect(try matches(#"\p{Han}+|\p{^L}"#, "漢字a!") == ["漢字", "!"])
    #expect(try matches("^.", "ab\ncd") == ["a", "c"])
    #expect(try matches("x*", "axb") == ["", "x", ""])
  }

  /// Expressions and texts made at random, with the library's splits.
  @Test func againstTheLibrary() throws {
    let cases = try #require(
      Goldens.json(Goldens.fixtures.appendingPathComponent("patterns.json").path)["cases"]?.array)
    #expect(cases.count == 400)
    for golden in cases {
      let (expression, text) = (try #require(golden[0]?.string), try #require(golden[1]?.string))
      var pieces = PieceText(AlignedText(original: Array(text.utf8)))
      let pattern = try Pattern(regularExpression: expression)
      try PreTokenizer.split(pattern, .isolated, inverted: false).apply(to: &pieces, mapsBytes: true)
      let offsets = Array(text.utf8).withUnsafeBufferPointer { bytes in
        var counter = CodePointCounter(bytes)
        return pieces.pieces.map { counter.convert($0.range) }
      }
      #expect(offsets == golden[2]?.ranges, Comment(rawValue: golden.text()))
    }
  }

  static let known: [String] = [
    #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#,
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
    #"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#
      + #"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"#
      + #"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#,
  ]

  /// The scanners for known expressions match what the expressions match.
  @Test(arguments: known) func scanners(expression: String) throws {
    #expect(WordScanner(pattern: expression) != nil)
    let scanner = try Pattern(regularExpression: expression)
    let matcher = try Pattern(regularExpression: expression, usesScanners: false)
    var random = SeededGenerator(seed: 20_260_101)
    let parts = [
      " ", "  ", "\n", "\r\n", "\t", "\u{A0}", "\u{3000}", "'", "'s", "'LL", "'Re", "'ſ", "a", "Z", "é", "É", "ǅ", "ʰ",
      "漢", "\u{301}", "\u{93E}", "7", "४", "Ⅳ", "½", "!", "/", "…", "🙂", "_", "\u{200D}", "\u{0}", "don", "USA", "Word",
    ]
    for round in 0..<4000 {
      let text = (0..<Int.random(in: 1...12, using: &random)).map { _ in parts.randomElement(using: &random) ?? "" }
        .joined()
      #expect(try matches(scanner, text) == matches(matcher, text), "round \(round): \(JSON.string(text).text())")
    }
  }

  @Test(arguments: [
    "(", ")", "[a", "a{3,1}", "*", #"\p{Nonsense}"#, #"\1"#, #"(?x) a"#, #"(?<=a*)b"#, #"\p{L"#, "[z-a]", #"\"#, "(?<n",
    "[[:alpha:]]", String(repeating: "(", count: 100) + String(repeating: ")", count: 100),
    "(((a{1000}){1000}){1000}){1000}",
  ])
  func refused(expression: String) throws {
    let problem = #expect(throws: Problem.self) { try Pattern(regularExpression: expression) }
    #expect(problem?.code == .tokenizerPattern)
  }

  /// A pattern that never ends is given up with an error.
  @Test func tooManySteps() throws {
    let pattern = try Pattern(regularExpression: "(?:a|a)*(?:a|a)*(?:a|a)*b")
    let problem = #expect(throws: Problem.self) { try matches(pattern, String(repeating: "a", count: 400)) }
    #expect(problem?.code == .tokenizerPattern)
  }
}
