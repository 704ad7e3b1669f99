#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Glibc
#endif

/// The C library's exponential, logarithm and error function on float64, for modules that import no C library. Their
/// last bits differ among machines.
public enum Elementary {
  public static func exp(_ x: Double) -> Double {
    #if canImport(Darwin)
      Darwin.exp(x)
    #elseif canImport(Musl)
      Musl.exp(x)
    #else
      Glibc.exp(x)
    #endif
  }

  public static func log(_ x: Double) -> Double {
    #if canImport(Darwin)
      Darwin.log(x)
    #elseif canImport(Musl)
      Musl.log(x)
    #else
      Glibc.log(x)
    #endif
  }

  /// 1 minus the error function.
  public static func erfc(_ x: Double) -> Double {
    #if canImport(Darwin)
      Darwin.erfc(x)
    #elseif canImport(Musl)
      Musl.erfc(x)
    #else
      Glibc.erfc(x)
    #endif
  }

  public static let ln2 = 0x1.62e42fefa39efp-1
}
