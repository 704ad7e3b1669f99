import EspalierBasics
import EspalierTokenizers
import Foundation
import Testing

/// Golden tokenizers: those in the fixtures, and the whole collection if ESPALIER_GOLDENS names a folder.
enum Goldens {
  static let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Fixtures")

  static let folder = FileSystem.environment("ESPALIER_GOLDENS")

  /// Folders with a `tokenizer.json` and `vectors.json`.
  static let tokenizers: [String] = {
    let own = fixtures.appendingPathComponent("tokenizers").path
    let names = ((try? FileSystem.list(own)) ?? []).filter { FileSystem.isFolder(FileSystem.join(own, $0)) }
    return names.map { FileSystem.join(own, $0) }.sorted()
  }()

  static func json(_ path: String) throws -> JSON { try JSON(parsing: try FileSystem.read(path)) }
}

extension JSON {
  var integers: [Int32] { (array ?? []).compactMap { $0.integer.map(Int32.init) } }
  var strings: [String] { (array ?? []).compactMap(\.string) }
  var ranges: [Range<Int>] {
    (array ?? []).compactMap { pair in
      guard let start = pair[0]?.integer, let end = pair[1]?.integer else { return nil }
      return start..<end
    }
  }
}

/// Strings that are equal byte by byte.
func same(_ a: String, _ b: String) -> Bool { ExactString(a) == ExactString(b) }
func same(_ a: [String], _ b: [String]) -> Bool { a.map { ExactString($0) } == b.map { ExactString($0) } }
