#if canImport(Darwin)
  internal import Darwin
#elseif canImport(Musl)
  internal import Musl
#else
  internal import Glibc
#endif

/// The C library's functions on float64, for modules that import no C library. Their last bits differ among machines.
public enum Elementary {
  public static func exp(_ x: Double) -> Double { cExp(x) }
  public static func log(_ x: Double) -> Double { cLog(x) }
  /// `base` to the power `exponent`.
  public static func power(_ base: Double, _ exponent: Double) -> Double { cPower(base, exponent) }
  /// 1 minus the error function.
  public static func erfc(_ x: Double) -> Double { cErfc(x) }
  public static func sin(_ x: Double) -> Double { cSin(x) }
  public static func cos(_ x: Double) -> Double { cCos(x) }
  public static func acos(_ x: Double) -> Double { cAcos(x) }

  public static let ln2 = 0x1.62e42fefa39efp-1
}

// Outside of the type, where the C functions' names mean the C functions.
private func cExp(_ x: Double) -> Double { exp(x) }
private func cLog(_ x: Double) -> Double { log(x) }
private func cPower(_ base: Double, _ exponent: Double) -> Double { pow(base, exponent) }
private func cErfc(_ x: Double) -> Double { erfc(x) }
private func cSin(_ x: Double) -> Double { sin(x) }
private func cCos(_ x: Double) -> Double { cos(x) }
private func cAcos(_ x: Double) -> Double { acos(x) }
