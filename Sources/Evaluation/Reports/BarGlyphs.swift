/// What bars are drawn with.
public enum BarGlyphs: Sendable {
  /// Eighths of blocks: `███▌`.
  case unicode
  /// `####`.
  case ascii

  /// A bar for `fraction` (0 ... 1) of `width` characters; anything above 0 shows.
  func bar(_ fraction: Double, width: Int) -> String {
    guard fraction > 0 else { return "" }
    let length = Double(width) * min(1, fraction)
    switch self {
    case .ascii: return String(repeating: "#", count: max(1, Int(length.rounded())))
    case .unicode:
      let eighths = max(1, Int((8 * length).rounded()))
      let rests = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"]
      return String(repeating: "█", count: eighths / 8) + rests[eighths % 8]
    }
  }
}
