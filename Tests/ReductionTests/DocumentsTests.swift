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
    for card in ReductionMethods.all.map({ $0.card }) + ReductionMethods.blocks.map({ $0.card }) {
      #expect(text.contains("| `\(card.source)` |"), "\(card.name)")
    }
  }
}
