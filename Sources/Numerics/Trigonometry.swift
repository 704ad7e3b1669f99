#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Glibc
#endif

/// The C library's functions on float64, for modules that import no C library. Their last bits differ among machines.
public enum Trigonometry {
  public static func sin(_ x: Double) -> Double {
    #if canImport(Darwin)
      Darwin.sin(x)
    #elseif canImport(Musl)
      Musl.sin(x)
    #else
      Glibc.sin(x)
    #endif
  }

  public static func cos(_ x: Double) -> Double {
    #if canImport(Darwin)
      Darwin.cos(x)
    #elseif canImport(Musl)
      Musl.cos(x)
    #else
      Glibc.cos(x)
    #endif
  }

  public static func acos(_ x: Double) -> Double {
    #if canImport(Darwin)
      Darwin.acos(x)
    #elseif canImport(Musl)
      Musl.acos(x)
    #else
      Glibc.acos(x)
    #endif
  }
}
