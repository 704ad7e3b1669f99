import Synchronization

#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Glibc
#endif

extension Problem.Code {
  public static let memoryCeiling = Problem.Code("memory.ceiling")
}

/// Shares a fixed number of bytes among jobs that run at once: a job waits until its part is free.
public final class MemoryLedger: @unchecked Sendable {
  public let capacity: Int
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let released: UnsafeMutablePointer<pthread_cond_t>
  private var used = 0

  public init(capacity: Int) {
    self.capacity = capacity
    mutex = .allocate(capacity: 1)
    released = .allocate(capacity: 1)
    pthread_mutex_init(mutex, nil)
    pthread_cond_init(released, nil)
  }

  deinit {
    pthread_cond_destroy(released)
    pthread_mutex_destroy(mutex)
    released.deallocate()
    mutex.deallocate()
  }

  /// Runs `body` while holding `bytes`, waiting for them first.
  ///
  /// - Throws: ``Problem/Code/memoryCeiling`` if the ledger is smaller than `bytes`; what `body` throws.
  public func withReservation<T>(of bytes: Int, _ body: () throws(Problem) -> T) throws(Problem) -> T {
    guard bytes <= capacity else {
      throw Problem(
        .memoryCeiling, "a job needs \(ByteCount.text(bytes)) and the ceiling leaves \(ByteCount.text(capacity))",
        remedy: "Raise --memory.")
    }
    pthread_mutex_lock(mutex)
    while bytes > capacity - used { pthread_cond_wait(released, mutex) }
    used += bytes
    pthread_mutex_unlock(mutex)
    defer {
      pthread_mutex_lock(mutex)
      used -= bytes
      pthread_cond_broadcast(released)
      pthread_mutex_unlock(mutex)
    }
    return try body()
  }
}
