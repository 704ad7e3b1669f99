/// A text on its way through the pipeline, with the place in the original text that every byte came from.
///
/// Most of a text is what it was, so places are kept as runs: stretches that are the original's bytes, scalar by
/// scalar, and blocks of bytes that stand for one range of the original together.
struct AlignedText: Sendable {
  /// UTF-8.
  private(set) var bytes: [UInt8]
  private(set) var runs: [Run]
  /// Where in the original the stretch begins that this text was made from.
  let base: Int

  /// The bytes from `start` to the next run.
  struct Run: Sendable, Equatable {
    var start: Int32
    var original: Int32
    /// End of the range that all bytes stand for, or -1 if the bytes are the original's, one to one.
    var originalEnd: Int32

    var isCopy: Bool { originalEnd < 0 }
  }

  /// The text itself: `bytes`, lying at `base` in the original.
  init(original bytes: [UInt8], base: Int = 0) {
    self.bytes = bytes
    self.base = base
    runs = bytes.isEmpty ? [] : [Run(start: 0, original: Int32(base), originalEnd: -1)]
  }

  /// `runs` begin at 0 and are in order.
  init(bytes: [UInt8], runs: [Run], base: Int) {
    self.bytes = bytes
    self.runs = runs
    self.base = base
  }

  var isEmpty: Bool { bytes.isEmpty }

  /// The range of the original that the bytes `range` came from; the range must not be empty.
  func original(of range: Range<Int>, cursor: inout Int) -> Range<Int> {
    let start = place(of: range.lowerBound, cursor: &cursor).lowerBound
    var last = cursor
    let end = place(of: range.upperBound - 1, cursor: &last).upperBound
    // The last byte of a piece that was moved around may come from before its first.
    return start..<max(start, end)
  }

  /// The range of the original that one byte came from. `cursor` is the index of a run near it, and is moved there.
  func place(of index: Int, cursor: inout Int) -> Range<Int> {
    while cursor > 0, Int(runs[cursor].start) > index { cursor -= 1 }
    while cursor + 1 < runs.count, Int(runs[cursor + 1].start) <= index { cursor += 1 }
    let run = runs[cursor]
    guard run.isCopy else { return Int(run.original)..<Int(run.originalEnd) }
    var start = index
    while start > Int(run.start), bytes[start] & 0xC0 == 0x80 { start -= 1 }
    let place = Int(run.original) + start - Int(run.start)
    return place..<place + UTF8Reading.length(bytes[start])
  }

  /// Replaces every byte by what a table of 256 says, which must keep UTF-8 valid: ASCII for ASCII.
  mutating func mapASCII(_ table: [UInt8]) {
    bytes.withUnsafeMutableBufferPointer { bytes in
      table.withUnsafeBufferPointer { table in
        for index in bytes.indices { bytes[index] = table[Int(bytes[index])] }
      }
    }
  }

  /// Runs for a text that is built from left to right.
  struct RunList {
    private(set) var runs: [Run] = []

    /// Bytes from `start` that are the original's from `original`.
    @inline(__always)
    mutating func appendCopy(start: Int, original: Int) {
      if let last = runs.last, last.isCopy, Int(last.original) + start - Int(last.start) == original { return }
      runs.append(
        Run(start: Int32(truncatingIfNeeded: start), original: Int32(truncatingIfNeeded: original), originalEnd: -1))
    }

    /// Bytes from `start` that stand for `range` of the original.
    @inline(__always)
    mutating func appendBlock(start: Int, _ range: Range<Int>) {
      if let last = runs.last, Int(last.original) == range.lowerBound, Int(last.originalEnd) == range.upperBound {
        return
      }
      runs.append(
        Run(
          start: Int32(truncatingIfNeeded: start), original: Int32(truncatingIfNeeded: range.lowerBound),
          originalEnd: Int32(truncatingIfNeeded: range.upperBound)))
    }
  }
}
