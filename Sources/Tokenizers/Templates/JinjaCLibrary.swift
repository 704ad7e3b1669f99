#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Glibc
#endif

extension Jinja {
  /// What templates take from the C library.
  enum CLibrary {
    static func power(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }

    /// `printf` of one number; the format has `.*` for the precision.
    static func text(of number: Double, _ format: String, precision: Int) -> String {
      var buffer = [CChar](repeating: 0, count: precision + 400)
      let count = withVaList([Int32(precision), number]) { vsnprintf(&buffer, buffer.count, format, $0) }
      return String(decoding: buffer[..<max(0, Int(count))].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Seconds since the beginning of 1970.
    static var now: Int { present() }

    /// `strftime` of local time, `seconds` after the beginning of 1970.
    static func time(_ seconds: Int, _ format: String) -> String {
      var moment = time_t(seconds)
      var parts = tm()
      guard localtime_r(&moment, &parts) != nil else { return "" }
      // A mark before the format tells an empty result from one that did not fit.
      for size in [256, 4096, 65536] {
        var buffer = [CChar](repeating: 0, count: size)
        let count = strftime(&buffer, size, "." + format, &parts)
        if count > 0 { return String(decoding: buffer[1..<count].map { UInt8(bitPattern: $0) }, as: UTF8.self) }
      }
      return ""
    }
  }
}

// Outside of the type, where `time` means the C function.
private func present() -> Int { time(nil) }
