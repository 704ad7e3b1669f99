import EspalierBasics
import Foundation
import Testing

/// Bytes of every file of a folder, by name; nil if there is no such folder.
func contents(of folder: String) throws -> [String: [UInt8]]? {
  guard FileSystem.isFolder(folder) else { return nil }
  var files: [String: [UInt8]] = [:]
  for name in try FileSystem.list(folder) { files[name] = try FileSystem.read("\(folder)/\(name)") }
  return files
}

/// Names of files that two folders do not have with the same bytes; empty if the folders are equal.
func differences(_ a: String, _ b: String) throws -> [String] {
  guard let a = try contents(of: a), let b = try contents(of: b) else { return ["one of the folders is missing"] }
  return Set(a.keys).union(b.keys).filter { a[$0] != b[$0] }.sorted()
}

func write(_ text: String, to path: String) throws { try FileSystem.write(Array(text.utf8), to: path) }

/// A copy of a model whose config asks for a layer less than its weights have.
///
/// - Returns: its folder, and part of the names of the weights that nothing reads: `.layers.7.`.
func copyWithoutLastLayer(
  of model: String, in folder: String, layers name: String = "layers"
) throws -> (path: String, unread: String) {
  let copy = "\(folder)/short"
  let copied = try Program.shell("cp -r '\(model)' '\(copy)'")
  #expect(copied.code == 0, "\(copied)")
  var config = try JSON(parsing: try FileSystem.read("\(copy)/config.json"))
  let layers = try #require(config["num_hidden_layers"]?.integer)
  config["num_hidden_layers"] = .number(layers - 1)
  try FileSystem.remove("\(copy)/config.json")
  try FileSystem.write(Array(config.text().utf8), to: "\(copy)/config.json")
  return (copy, ".\(name).\(layers - 1).")
}
