import EspalierBasics
import TestSupport
import Testing

@testable import EspalierRestructuring

/// What is said about the methods outside their files agrees with their cards.
@Suite struct StructuralDocumentsTests {
  private let documents = "\(packageFolder)/Docs"

  @Test func referenceIsUpToDate() throws {
    let text = String(decoding: try FileSystem.read(documents + "/restructurings.md"), as: UTF8.self)
    #expect(
      text == StructuralReference.markdown + "\n",
      "run: espalier methods --restructuring --markdown > Docs/restructurings.md")
  }

  @Test func sourcesAreInTheBibliography() throws {
    let text = String(decoding: try FileSystem.read(documents + "/bibliography.md"), as: UTF8.self)
    for card in StructuralMethods.all.map({ $0.card }) + UnitScores.all.map({ $0.card }) {
      #expect(text.contains("| `\(card.source)` |"), "\(card.name)")
    }
  }
}
