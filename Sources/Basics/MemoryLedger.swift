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

/// Numbers of bytes as people write them: `4G`, `512MB`, `1.5GiB`; decimal units are powers of 1000, `Ki`.. of 1024.
public enum ByteCount {
  /// - Returns: the bytes, or nil if the text is no size. `G` alone means 2^30, as for memory; `GB` means 10^9.
  public static func parse(_ text: String) -> Int? {
    let trimmed = text.lowercased().filter { !$0.isWhitespace }
    let digits = trimmed.prefix { $0.isNumber || $0 == "." }
    guard let value = Double(digits), value >= 0 else { return nil }
    let unit: Double
    switch trimmed.dropFirst(digits.count) {
    case "", "b": unit = 1
    case "k", "kib": unit = 1024
    case "m", "mib": unit = 1_048_576
    case "g", "gib": unit = 1_073_741_824
    case "t", "tib": unit = 1_099_511_627_776
    case "kb": unit = 1e3
    case "mb": unit = 1e6
    case "gb": unit = 1e9
    case "tb": unit = 1e12
    default: return nil
    }
    let bytes = value * unit
    return bytes < 9e18 ? Int(bytes) : nil
  }

  /// Three significant digits and a decimal unit: `1.10 GB`.
  public static func text(_ bytes: Int) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"]
    var value = Double(bytes)
    var unit = 0
    while abs(value) >= 999.5 && unit < units.count - 1 {
      value /= 1000
      unit += 1
    }
    return unit == 0 ? "\(bytes) B" : "\(significant(value)) \(units[unit])"
  }

  private static func significant(_ value: Double) -> String {
    let digits = abs(value) < 9.995 ? 2 : abs(value) < 99.95 ? 1 : 0
    return Decimals.text(value, digits)
  }
}

/// Numbers with a fixed count of decimals, without Foundation.
public enum Decimals {
  /// `value` rounded half away from zero to `digits` decimals (0...9).
  public static func text(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
    var scale = 1.0
    for _ in 0..<digits { scale *= 10 }
    let scaled = (abs(value) * scale).rounded()
    guard scaled < 9e18 else { return "\(value)" }
    let all = String(Int(scaled))
    let sign = value < 0 && scaled > 0 ? "-" : ""
    guard digits > 0 else { return sign + all }
    let padded = String(repeating: "0", count: max(0, digits + 1 - all.count)) + all
    return sign + padded.dropLast(digits) + "." + padded.suffix(digits)
  }
}
