import EspalierBasics
import Testing

@testable import EspalierArchitectures

/// A saved model's config with the names and shapes in its safetensors header (see `make_fixtures.py`).
struct Fixture: CustomTestStringConvertible {
  let name: String
  let config: JSON
  let shapes: [String: [Int]]

  init(_ name: String) throws {
    self.name = name
    config = try JSON(parsing: readBytes("Fixtures/\(name)/config.json"))
    let tensors = try #require(try JSON(parsing: readBytes("Fixtures/\(name)/tensors.json")).members)
    shapes = Dictionary(
      uniqueKeysWithValues: tensors.pairs.map { ($0.key, ($0.value.array ?? []).compactMap(\.integer)) })
  }

  var testDescription: String { name }

  func described() throws -> ModelDescription {
    let family = Architecture.recognise(config: config, among: Architecture.builtIn())
    return try #require(family, "no family for \(name)").describe(config: config)
  }

  static let names: [String] = entries(of: "Fixtures")
}

func family(_ name: String) throws -> Architecture {
  let families = Architecture.builtIn().filter { $0.name == name }
  return try #require(families.first, "no family \(name)")
}

// MARK: - Files beside the tests

func path(beside relative: String, file: String = #filePath) -> String {
  "\(FileSystem.parent(of: file))/\(relative)"
}

func readBytes(_ relative: String) throws -> [UInt8] { try FileSystem.read(path(beside: relative)) }

func entries(of relative: String) -> [String] {
  (try? FileSystem.list(path(beside: relative)))?.filter { !$0.hasPrefix(".") }.sorted() ?? []
}
