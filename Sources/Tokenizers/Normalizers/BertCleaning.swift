/// The cleaning of BERT: control characters, Chinese characters, accents, case.
public struct BertCleaning: Sendable, Hashable {
  /// Control characters go away, white space becomes spaces.
  public var cleansText: Bool
  /// Chinese characters stand between spaces.
  public var isolatesChinese: Bool
  /// Nonspacing marks go away after NFD.
  public var stripsAccents: Bool
  public var lowercases: Bool

  public init(
    cleansText: Bool = true, isolatesChinese: Bool = true, stripsAccents: Bool = true, lowercases: Bool = true
  ) {
    self.cleansText = cleansText
    self.isolatesChinese = isolatesChinese
    self.stripsAccents = stripsAccents
    self.lowercases = lowercases
  }

  func apply(to text: inout AlignedText) {
    if cleansText { ScalarEdits.apply(to: &text, Self.clean) }
    if isolatesChinese { ScalarEdits.apply(to: &text) { Self.isChinese($0) ? .isolate : .keep } }
    if stripsAccents {
      NormalizationForm.nfd.normalize(&text)
      ScalarEdits.apply(to: &text) { $0 >= 0x300 && ScalarClass.flags($0).contains(.nonspacingMark) ? .drop : .keep }
    }
    if lowercases { Lowercase.shared.normalize(&text) }
  }

  private static func clean(_ scalar: UInt32) -> ScalarEdits.Edit {
    switch scalar {
    case 0x20...0x7E: return .keep
    case 0x09, 0x0A, 0x0D: return .become(0x20)
    case 0, 0xFFFD: return .drop
    default:
      if ScalarClass.flags(scalar).contains(.other) { return .drop }
      return ScalarClass.isWhitespace(scalar) ? .become(0x20) : .keep
    }
  }

  static func isChinese(_ scalar: UInt32) -> Bool {
    switch scalar {
    case 0..<0x3400: false
    case 0x3400...0x4DBF, 0x4E00...0x9FFF, 0xF900...0xFAFF, 0x20000...0x2A6DF, 0x2A700...0x2B81F, 0x2B920...0x2CEAF,
      0x2F800...0x2FA1F:
      true
    default: false
    }
  }
}
