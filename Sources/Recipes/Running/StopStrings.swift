/// Text that comes in pieces and ends where one of some strings appears, which may lie across pieces.
///
/// What could be the beginning of such a string is held back until it is known not to be.
struct StopStrings {
  private let strings: [[UInt8]]
  private var held: [UInt8] = []
  /// Whether one of the strings has come.
  private(set) var found = false

  init(_ strings: [String]) { self.strings = strings.map { Array($0.utf8) }.filter { !$0.isEmpty } }

  /// The text that may be shown now that `piece` has come.
  mutating func append(_ piece: String) -> String {
    guard !found else { return "" }
    guard !strings.isEmpty else { return piece }
    held += piece.utf8
    for start in held.indices where strings.contains(where: { held[start...].starts(with: $0) }) {
      found = true
      return release(start)
    }
    let safe = held.indices.first { start in strings.contains { $0.starts(with: held[start...]) } } ?? held.count
    return release(safe)
  }

  /// What was held back when the text ends by itself.
  mutating func finish() -> String { found ? "" : release(held.count) }

  /// The first `count` bytes that are held. Pieces and strings are whole characters, so these are too.
  private mutating func release(_ count: Int) -> String {
    defer { held.removeFirst(count) }
    return String(decoding: held[..<count], as: UTF8.self)
  }
}
