import EspalierBasics
import TestSupport
import Testing

@testable import EspalierEvaluation

@Suite struct TextSetTests {
  private func read(_ content: String, named name: String) throws -> TextSet {
    try withTemporaryFolder { folder in
      try FileSystem.write(Array(content.utf8), to: "\(folder)/\(name)")
      return try TextSet.reading("\(folder)/\(name)")
    }
  }

  @Test func aTextFileIsOneDocumentAsItIs() throws {
    let set = try read(" a\r\n\n b ", named: "x.txt")
    #expect(set.name == "x.txt" && set.documents == [TextSet.Document(name: "x.txt", text: " a\r\n\n b ")])
  }

  @Test func jsonLinesAreADocumentEach() throws {
    let set = try read("{\"text\": \"one\"}\n\n\"two\"\n{\"text\": \"three\", \"name\": \"third\"}\n", named: "x.jsonl")
    #expect(set.documents.map(\.name) == ["line 1", "line 3", "third"])
    #expect(set.documents.map(\.text) == ["one", "two", "three"])
  }

  @Test func damageIsRefused() throws {
    try withTemporaryFolder { folder in
      try FileSystem.write([0x61, 0xFF], to: "\(folder)/x.txt")
      #expect(throws: Problems.self) { try TextSet.reading("\(folder)/x.txt") }
      #expect(throws: Problems.self) { try TextSet.reading("\(folder)/none.txt") }
      try FileSystem.write(Array("{\"text\": 3}\n{}\n[]".utf8), to: "\(folder)/x.jsonl")
      do {
        _ = try TextSet.reading("\(folder)/x.jsonl")
        Issue.record("accepted")
      } catch { #expect((error as? Problems)?.all.count == 3) }
    }
  }

  @Test func optionsFitTheirBytes() {
    withOptions { options in
      let fitting = options.fitting(bytes: 64 << 20, stateWidths: [576, 576])
      #expect(fitting.logitBytes == 16 << 20)
      #expect(fitting.groupTokens == (48 << 20) / (2 * 576 * 4))
      #expect(options.fitting(bytes: 1, stateWidths: [576]).groupTokens == 1)
    }
  }
}
