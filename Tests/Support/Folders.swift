internal import EspalierBasics

/// The package whose tests run.
public let packageFolder = (0..<3).reduce(#filePath) { path, _ in FileSystem.parent(of: path) }

/// A new folder for a test, removed when `body` returns.
public func withTemporaryFolder<T>(_ body: (String) throws -> T) throws -> T {
  let root = FileSystem.environment("TMPDIR") ?? "\(packageFolder)/.build/temporary"
  let folder = "\(root)/espalier-\(UInt64.random(in: 0 ..< .max))"
  try FileSystem.createParents(of: folder)
  try FileSystem.createFolder(folder)
  defer { try? FileSystem.remove(folder) }
  return try body(FileSystem.resolved(folder) ?? folder)
}

/// Changes bits of one byte of a file in place.
public func flip(_ path: String, at offset: Int, mask: UInt8 = 1) throws {
  let file = try File.writing(path)
  var byte = try file.read(1, at: offset)
  byte[0] ^= mask
  try file.write(byte, at: offset)
}
