import EspalierBasics
import Foundation

/// A new folder for a test, removed when `body` returns.
func withTemporaryFolder<T>(_ body: (String) throws -> T) throws -> T {
  let folder = FileManager.default.temporaryDirectory.path + "/espalier-\(UInt64.random(in: 0 ..< .max))"
  try FileSystem.createFolder(folder)
  defer { try? FileSystem.remove(folder) }
  return try body(FileSystem.resolved(folder) ?? folder)
}

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

/// Changes one byte of a file in place.
func flipByte(of path: String, at offset: Int) throws {
  let file = try File.writing(path)
  var byte = try file.read(1, at: offset)
  byte[0] ^= 0x10
  try file.write(byte, at: offset)
}

func write(_ text: String, to path: String) throws { try FileSystem.write(Array(text.utf8), to: path) }

/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers for the same seed.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
