import EspalierBasics
import TestSupport
import Testing

@testable import EspalierMerging

/// What is said about the methods outside their files agrees with their cards.
@Suite struct DocumentsTests {
  private let documents = "\(packageFolder)/Docs"

  @Test func referenceIsUpToDate() throws {
    let text = String(decoding: try FileSystem.read(documents + "/methods.md"), as: UTF8.self)
    #expect(text == MethodReference.markdown + "\n", "run: espalier methods --markdown > Docs/methods.md")
  }

  @Test(arguments: MergeMethods.all.map { $0.card.name }) func sourceIsInTheBibliography(name: String) throws {
    let method = try #require(MergeMethods.named(name))
    let text = String(decoding: try FileSystem.read(documents + "/bibliography.md"), as: UTF8.self)
    #expect(text.contains("| `\(method.card.source)` |"))
  }

  @Test func namesAreUnique() {
    let names = MergeMethods.all.map { $0.card.name }
    #expect(Set(names).count == names.count)
    #expect(names.count == 22)
  }

  @Test(arguments: MergeMethods.all.map { $0.card.name }) func defaultsAreInRange(name: String) throws {
    let method = try #require(MergeMethods.named(name))
    for parameter in method.card.parameters {
      if let standard = parameter.standard { #expect(parameter.complaint(about: standard) == nil) }
      #expect(!parameter.meaning.isEmpty)
    }
  }
}
