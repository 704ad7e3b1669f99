import EspalierBasics
import TestSupport
import Testing

@testable import EspalierReduction

/// What is said about the methods outside their files agrees with their cards.
@Suite struct ReductionDocumentsTests {
  private let documents = "\(packageFolder)/Docs"

  @Test func referenceIsUpToDate() throws {
    let text = String(decoding: try FileSystem.read(documents + "/reductions.md"), as: UTF8.self)
    #expect(
      text == ReductionReference.markdown + "\n",
      "run: espalier methods --reductions --markdown > Docs/reductions.md")
  }

  @Test func sourcesAreInTheBibliography() throws {
    let text = String(decoding: try FileSystem.read(documents + "/bibliography.md"), as: UTF8.self)
    for method in ReductionMethods.all { #expect(text.contains("| `\(method.card.source)` |"), "\(method.card.name)") }
  }
}
