/// Makes a new ``AlignedText`` from an old one, scalar by scalar, keeping track of where everything came from.
///
/// A scalar is written with a *change*, as the reference library counts: 0 takes the place of the next old scalar, a
/// positive number inserts (the scalar then stands for what the scalar before it stood for), and -n takes the place of
/// the next old scalar and swallows n more.
struct TextEdit {
  private let old: AlignedText
  private var cursor = 0
  /// Place of the next old scalar.
  private(set) var offset: Int
  private var bytes: [UInt8] = []
  private var runs = AlignedText.RunList()

  /// Begins after the first `skipped` scalars of the old text, which are left out.
  init(_ old: AlignedText, skipping skipped: Int = 0) {
    self.old = old
    offset = 0
    bytes.reserveCapacity(old.bytes.count + old.bytes.count / 8 + 16)
    for _ in 0..<skipped { skipScalar() }
  }

  private mutating func skipScalar() {
    guard offset < old.bytes.count else { return }
    offset = min(old.bytes.count, offset + UTF8Reading.length(old.bytes[offset]))
  }

  /// Writes a scalar.
  mutating func write(_ scalar: UInt32, change: Int = 0) {
    let place: Range<Int>
    if change > 0 {
      place = offset < 1 ? old.base..<old.base : old.place(of: offset - 1, cursor: &cursor)
    } else if offset < old.bytes.count {
      place = old.place(of: offset, cursor: &cursor)
    } else {
      place = old.isEmpty ? old.base..<old.base : old.place(of: old.bytes.count - 1, cursor: &cursor)
    }
    if change <= 0 {
      skipScalar()
      for _ in 0..<(-change) { skipScalar() }
    }
    write(scalar, standingFor: place)
  }

  private mutating func write(_ scalar: UInt32, standingFor place: Range<Int>) {
    if place.count == UTF8Reading.byteCount(scalar) {
      runs.appendCopy(start: bytes.count, original: place.lowerBound)
    } else {
      runs.appendBlock(start: bytes.count, place)
    }
    UTF8Reading.append(scalar, to: &bytes)
  }

  /// Copies the old bytes up to `end`, unchanged.
  mutating func copy(to end: Int) {
    guard end > offset else { return }
    while cursor > 0, Int(old.runs[cursor].start) > offset { cursor -= 1 }
    while cursor + 1 < old.runs.count, Int(old.runs[cursor + 1].start) <= offset { cursor += 1 }
    var position = offset
    while position < end {
      let run = old.runs[cursor]
      let next = cursor + 1 < old.runs.count ? Int(old.runs[cursor + 1].start) : old.bytes.count
      let start = bytes.count + position - offset
      if run.isCopy {
        runs.appendCopy(start: start, original: Int(run.original) + position - Int(run.start))
      } else {
        runs.appendBlock(start: start, Int(run.original)..<Int(run.originalEnd))
      }
      position = min(next, end)
      if position == next, cursor + 1 < old.runs.count { cursor += 1 }
    }
    bytes.append(contentsOf: old.bytes[offset..<end])
    offset = end
  }

  /// Leaves out the old bytes up to `end`; nothing written later stands for them.
  mutating func drop(to end: Int) { offset = max(offset, end) }

  /// Writes text in the place of the old bytes up to `end`: it stands for what the last of them stood for.
  mutating func replace(to end: Int, by text: [UInt32]) {
    drop(to: end)
    for scalar in text { write(scalar, change: 1) }
  }

  /// The new text. What was not copied is gone.
  func finished() -> AlignedText { AlignedText(bytes: bytes, runs: runs.runs, base: old.base) }

  /// Number of bytes written.
  var count: Int { bytes.count }
}
