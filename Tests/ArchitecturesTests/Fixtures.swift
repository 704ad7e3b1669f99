import EspalierBasics
import Testing

@testable import EspalierArchitectures

#if canImport(Glibc)
  import Glibc
#else
  import Darwin
#endif

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
  let folder = file.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
  return "\(folder)/\(relative)"
}

func readBytes(_ relative: String) throws -> [UInt8] {
  let file = try #require(fopen(path(beside: relative), "rb"), "\(relative) is not there")
  defer { fclose(file) }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while case let count = fread(&buffer, 1, buffer.count, file), count > 0 { bytes += buffer[..<count] }
  return bytes
}

func entries(of relative: String) -> [String] {
  guard let folder = opendir(path(beside: relative)) else { return [] }
  defer { closedir(folder) }
  var names: [String] = []
  while let entry = readdir(folder) {
    let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    if !name.hasPrefix(".") { names.append(name) }
  }
  return names.sorted()
}
