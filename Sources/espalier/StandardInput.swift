import EspalierBasics

/// Lines of standard input as they come: what a writer has written is there before it writes on.
struct StandardInput {
  /// The beginning of a line whose end has not come.
  private var rest: [UInt8] = []
  private var hasEnded = false
  private var buffer = [UInt8](repeating: 0, count: 1 << 20)

  /// The lines that are there, without their ends; waits for one if there is none. Nil at the end of input.
  ///
  /// - Throws: `file.read`.
  mutating func lines() throws(Problem) -> [[UInt8]]? {
    while !hasEnded {
      let count = try Machine.readStandardInput(into: &buffer)
      let new = buffer[..<count]
      guard count > 0 else { break }
      guard let end = new.lastIndex(of: UInt8(ascii: "\n")) else {
        rest += new
        continue
      }
      let whole = rest + new[..<end]
      rest = Array(new[(end + 1)...])
      return whole.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).map(Self.line)
    }
    hasEnded = true
    guard !rest.isEmpty else { return nil }
    defer { rest = [] }
    return [Self.line(rest[...])]
  }

  private static func line(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
    Array(bytes.last == UInt8(ascii: "\r") ? bytes.dropLast() : bytes)
  }
}
