import EspalierBasics
import Foundation
import Testing

@testable import EspalierTokenizers

/// Single normalizers, pre-tokenizers and decoders against the `tokenizers` library.
@Suite struct PartsTests {
  private static let golden = Result { try Goldens.json(Goldens.fixtures.appendingPathComponent("parts.json").path) }

  private func entries(_ kind: String) throws -> [JSON] {
    let entries = try #require(Self.golden.get()[kind]?.array)
    #expect(entries.count > 10)
    return entries
  }

  @Test func normalizers() throws {
    for entry in try entries("normalizers") {
      let normalizer = try Normalizer(json: try #require(entry["config"]))
      for golden in entry["cases"]?.array ?? [] {
        guard let text = golden[0]?.string, let expected = golden[1]?.string else { continue }
        var result = AlignedText(original: Array(text.utf8))
        try normalizer.apply(to: &result)
        #expect(result.bytes == Array(expected.utf8), "\(entry["name"]?.string ?? ""): \(golden.text())")
      }
    }
  }

  @Test func preTokenizers() throws {
    for entry in try entries("pre_tokenizers") {
      let preTokenizer = try PreTokenizer(json: try #require(entry["config"]))
      for golden in entry["cases"]?.array ?? [] {
        guard let text = golden[0]?.string, let expected = golden[1]?.array else { continue }
        var pieces = PieceText(AlignedText(original: Array(text.utf8)))
        try preTokenizer.apply(to: &pieces, mapsBytes: true)
        let note = Comment(rawValue: "\(entry["name"]?.string ?? ""): \(golden.text())")
        let texts = pieces.pieces.map { String(decoding: pieces.text.bytes[$0.range], as: UTF8.self) }
        #expect(same(texts, expected.compactMap { $0[0]?.string }), note)
        let offsets = Array(text.utf8).withUnsafeBufferPointer { bytes in
          var counter = CodePointCounter(bytes)
          var cursor = 0
          return pieces.pieces.map { counter.convert(pieces.text.original(of: $0.range, cursor: &cursor)) }
        }
        #expect(offsets == JSON.array(expected.compactMap { $0[1] }).ranges, note)
      }
    }
  }

  @Test func decoders() throws {
    for entry in try entries("decoders") {
      let decoder = try Decoder(json: try #require(entry["config"]))
      for golden in entry["cases"]?.array ?? [] {
        guard let tokens = golden[0]?.strings else { continue }
        var chain = DecodingChain(decoder)
        var output: TokenText = []
        for token in tokens { try chain.take(Array(token.utf8), &output) }
        try chain.finish(&output)
        // Where the library crashes there is nothing to compare with, but we must not.
        guard let expected = golden[1]?.string else { continue }
        #expect(output == Array(expected.utf8), "\(entry["name"]?.string ?? ""): \(golden.text())")
      }
    }
  }
}
