internal import EspalierBasics

/// Puts bytes together to UTF-8; what is none becomes U+FFFD, one for every part that could have begun a scalar
/// (Unicode, section 3.9: substitution of maximal subparts).
struct UTF8Repair: Sendable {
  private var pending: [UInt8] = []

  static let replacement: TokenText = [0xEF, 0xBF, 0xBD]

  /// Takes more bytes; whole scalars go out.
  mutating func take(_ bytes: some Sequence<UInt8>, _ output: inout TokenText) {
    for byte in bytes { take(byte, &output) }
  }

  private mutating func take(_ byte: UInt8, _ output: inout TokenText) {
    guard let first = pending.first else {
      switch byte {
      case 0..<0x80: output.append(byte)
      case 0xC2...0xF4: pending = [byte]
      default: output += Self.replacement
      }
      return
    }
    let isSecond = pending.count == 1
    let allowed: ClosedRange<UInt8> =
      switch first {
      case 0xE0 where isSecond: 0xA0...0xBF
      case 0xED where isSecond: 0x80...0x9F
      case 0xF0 where isSecond: 0x90...0xBF
      case 0xF4 where isSecond: 0x80...0x8F
      default: 0x80...0xBF
      }
    guard allowed.contains(byte) else {
      output += Self.replacement
      pending = []
      return take(byte, &output)
    }
    pending.append(byte)
    if pending.count == UTF8Reading.length(first) {
      output += pending
      pending = []
    }
  }

  /// What was begun stays unfinished.
  mutating func finish(_ output: inout TokenText) {
    if !pending.isEmpty { output += Self.replacement }
    pending = []
  }
}

/// Characters of the byte-level alphabet become bytes; a token with any other character stands for itself.
struct ByteLevelStage: DecodingStage {
  private var repair = UTF8Repair()

  mutating func take(_ token: TokenText, _ output: inout [TokenText]) {
    var text: TokenText = []
    repair.take(ByteAlphabet.bytes(of: token) ?? token, &text)
    output.append(text)
  }

  mutating func finish(_ output: inout [TokenText]) {
    var text: TokenText = []
    repair.finish(&text)
    output.append(text)
  }
}

/// A run of `<0x..>` tokens becomes the text of its bytes; if they are no UTF-8, a U+FFFD for each. So the end of a run
/// is waited for.
struct ByteFallbackStage: DecodingStage {
  private var run: [UInt8] = []

  mutating func take(_ token: TokenText, _ output: inout [TokenText]) {
    if let byte = ByteFallbackTokens.byte(token) {
      run.append(byte)
    } else {
      finish(&output)
      output.append(token)
    }
  }

  mutating func finish(_ output: inout [TokenText]) {
    guard !run.isEmpty else { return }
    if String(validating: run, as: UTF8.self) != nil {
      output.append(run)
    } else {
      for _ in run { output.append(UTF8Repair.replacement) }
    }
    run = []
  }
}
