import EspalierBasics
import Testing

@testable import EspalierEvaluation

@Suite struct FiguresTests {
  @Test(
    arguments: [
      (0, "0"), (1, "1.00"), (-0.5, "-0.500"), (12.345, "12.3"), (123.45, "123"), (9.996, "10.0"), (0.00999, "0.00999"),
      (0.001, "0.00100"), (0.00012345, "1.23e-4"), (123_456, "123456"), (999_999, "1.00e+6"), (1_234_567, "1.23e+6"),
      (-1e-300, "-1.00e-300"), (.infinity, "inf"), (.nan, "nan"),
    ] as [(Double, String)])
  func threeSignificantDigits(_ value: Double, _ text: String) { #expect(Figures.text(value) == text) }

  @Test(
    arguments: [
      (0, "0 %"), (1, "100 %"), (0.5, "50.00 %"), (1e-9, "<0.01 %"), (0.999999, ">99.99 %"), (0.12345, "12.35 %"),
    ] as [(Double, String)])
  func percentagesDoNotClaimNothingOrAll(_ value: Double, _ text: String) { #expect(Figures.percent(value) == text) }

  @Test(arguments: [
    (0, "0"), (999, "999"), (1000, "1.00 k"), (6_557_952, "6.56 M"), (8_030_000_000, "8.03 B"), (124_400_000, "124 M"),
  ]) func countsHaveUnits(_ count: Int, _ text: String) { #expect(Figures.count(count) == text) }

  @Test func barsAreProportionalAndAnythingShows() {
    #expect(BarGlyphs.unicode.bar(1, width: 4) == "████")
    #expect(BarGlyphs.unicode.bar(0.5 + 1.0 / 64, width: 8) == "████▏")
    #expect(BarGlyphs.unicode.bar(1e-9, width: 8) == "▏" && BarGlyphs.ascii.bar(1e-9, width: 8) == "#")
    #expect(BarGlyphs.ascii.bar(0.5, width: 4) == "##" && BarGlyphs.ascii.bar(7, width: 4) == "####")
    for fraction in [0, -1, Double.nan] { #expect(BarGlyphs.unicode.bar(fraction, width: 4) == "") }
  }

  @Test func tablesAlignAndTrim() {
    var table = TextTable()
    table.add("name", align: .left, ["a", "long name"])
    table.add("n", ["1", "100"])
    table.add("note", align: .left, ["", "x"])
    #expect(table.lines == ["name         n  note", "a            1", "long name  100  x"])
  }
}
