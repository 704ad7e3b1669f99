internal import CKernels
internal import EspalierNumerics

/// What coding needs to know of an element type.
struct ElementForm {
  /// The type in the first byte of a coded chunk.
  let code: UInt8
  /// Bytes.
  let width: Int
  /// By how many bits elements are turned to the left before they are split into planes of bytes, so that the exponent
  /// or the most telling part of it is the highest byte.
  let turn: Int
  /// Bits of the stored mantissa and of the exponent; 0 for integers.
  let mantissa: Int
  let exponent: Int

  var isFloat: Bool { exponent > 0 }

  private init(_ code: UInt8, width: Int, turn: Int = 0, mantissa: Int = 0, exponent: Int = 0) {
    self.code = code
    self.width = width
    self.turn = turn
    self.mantissa = mantissa
    self.exponent = exponent
  }

  init(_ type: ElementType) {
    self =
      switch type {
      case .bool, .i8, .u8: Self.all[0]
      case .i16, .u16: Self.all[1]
      case .i32, .u32: Self.all[2]
      case .i64, .u64: Self.all[3]
      case .f16: Self.all[4]
      case .bf16: Self.all[5]
      case .f32: Self.all[6]
      case .f64: Self.all[7]
      case .f8e4m3: Self.all[8]
      case .f8e5m2: Self.all[9]
      }
  }

  /// The form with a code; nil if there is none.
  init?(code: UInt8) {
    guard Self.all.indices.contains(Int(code) - 1) else { return nil }
    self = Self.all[Int(code) - 1]
  }

  /// In the order of their codes, from 1.
  private static let all = [
    ElementForm(1, width: 1), ElementForm(2, width: 2), ElementForm(3, width: 4), ElementForm(4, width: 8),
    ElementForm(5, width: 2, turn: 1, mantissa: 10, exponent: 5),
    ElementForm(6, width: 2, turn: 1, mantissa: 7, exponent: 8),
    ElementForm(7, width: 4, turn: 1, mantissa: 23, exponent: 8),
    ElementForm(8, width: 8, turn: 4, mantissa: 52, exponent: 11),
    ElementForm(9, width: 1, mantissa: 3, exponent: 4), ElementForm(10, width: 1, mantissa: 2, exponent: 5),
  ]

  /// How elements without their `shift` lowest bits are told from a base's.
  func differences(shift: Int) -> es_difference_form {
    es_difference_form(
      width: Int32(width), mantissa: Int32(mantissa - shift), exponent: Int32(exponent), shift: Int32(shift),
      fine: width == 8 ? 1 : 2)  // symbols of one byte: 53 classes of lengths leave room for one bit more
  }
}
