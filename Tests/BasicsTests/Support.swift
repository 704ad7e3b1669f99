import EspalierBasics

/// A new folder for a test, removed when `body` returns.
func withTemporaryFolder<T>(_ body: (String) throws -> T) throws -> T {
  let package = (0..<3).reduce(#filePath) { path, _ in FileSystem.parent(of: path) }
  let root = FileSystem.environment("TMPDIR") ?? "\(package)/.build/temporary"
  let folder = "\(root)/espalier-\(UInt64.random(in: 0 ..< .max))"
  try FileSystem.createParents(of: folder)
  try FileSystem.createFolder(folder)
  defer { try? FileSystem.remove(folder) }
  return try body(folder)
}

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
