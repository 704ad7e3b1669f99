internal import EspalierNumerics
internal import Synchronization

/// Memory that all packed files share, so that a model of many files takes no more than one.
enum ArchiveMemory {
  struct Key: Hashable {
    /// Of ``identifier()``.
    var archive: Int
    var part: Int
    var chunk: Int
  }

  private struct Kept {
    var key: Key
    var bytes: [UInt8]
  }

  /// Of chunks that are kept, for readers of pieces smaller than they are.
  static let mostKeptBytes = 16 << 20
  private static let kept = Mutex<[Kept]>([])
  /// Of each size, and how many packed files use them.
  private static let rooms = Mutex<[Int: (pool: BufferPool, users: Int)]>([:])
  private static let identifiers = Atomic<Int>(0)

  /// One that no other packed file has had.
  static func identifier() -> Int { identifiers.add(1, ordering: .relaxed).newValue }

  /// Buffers of a size, until as many calls of ``giveBackRooms(of:)``.
  static func rooms(of byteCount: Int) -> BufferPool {
    rooms.withLock { rooms in
      let found = rooms[byteCount] ?? (BufferPool(byteCount: byteCount), 0)
      rooms[byteCount] = (found.pool, found.users + 1)
      return found.pool
    }
  }

  static func giveBackRooms(of byteCount: Int) {
    rooms.withLock { rooms in
      guard let found = rooms[byteCount] else { return }
      rooms[byteCount] = found.users > 1 ? (found.pool, found.users - 1) : nil
    }
  }

  /// A decoded chunk, if it is kept; it then is the last to be forgotten.
  static func chunk(_ key: Key) -> [UInt8]? {
    kept.withLock { kept in
      guard let place = kept.lastIndex(where: { $0.key == key }) else { return nil }
      let chunk = kept.remove(at: place)
      kept.append(chunk)
      return chunk.bytes
    }
  }

  /// Keeps a decoded chunk for a while.
  static func keep(_ bytes: [UInt8], as key: Key) {
    kept.withLock { kept in
      kept.removeAll { $0.key == key }
      kept.append(Kept(key: key, bytes: bytes))
      var total = kept.reduce(0) { $0 + $1.bytes.count }
      while total > mostKeptBytes, kept.count > 1 { total -= kept.removeFirst().bytes.count }
    }
  }

  /// Forgets the chunks of a packed file.
  static func forget(archive: Int) { kept.withLock { $0.removeAll { $0.key.archive == archive } } }
}
