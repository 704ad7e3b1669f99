/// One allocation that a thread carves its working arrays from, each aligned to a cache line.
final class ScratchArena {
  static let alignment = 64
  private let memory: UnsafeMutableRawPointer

  init(bytes: Int) { memory = .allocate(byteCount: max(bytes, 1), alignment: 4096) }
  deinit { memory.deallocate() }

  /// Bytes for the given arrays of floats and one array of bytes.
  static func size(floats: [Int], bytes: Int) -> Int {
    floats.reduce(aligned(bytes)) { $0 + aligned($1 * MemoryLayout<Float>.stride) }
  }

  private static func aligned(_ bytes: Int) -> Int { (bytes + alignment - 1) / alignment * alignment }

  func carver() -> Carver { Carver(next: memory) }

  struct Carver {
    fileprivate var next: UnsafeMutableRawPointer

    mutating func floats(_ count: Int) -> UnsafeMutablePointer<Float> {
      bytes(count * MemoryLayout<Float>.stride).bindMemory(to: Float.self, capacity: count)
    }

    mutating func bytes(_ count: Int) -> UnsafeMutableRawPointer {
      defer { next += ScratchArena.aligned(count) }
      return next
    }
  }
}
