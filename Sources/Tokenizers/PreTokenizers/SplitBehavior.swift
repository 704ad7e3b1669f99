/// What becomes of the matches when a text is split at them.
public enum SplitBehavior: String, Sendable, Hashable {
  /// They are left out.
  case removed = "Removed"
  /// Each is a piece.
  case isolated = "Isolated"
  /// Each is joined with the piece before it.
  case mergedWithPrevious = "MergedWithPrevious"
  /// Each is joined with the piece after it.
  case mergedWithNext = "MergedWithNext"
  /// Neighbouring ones are one piece.
  case contiguous = "Contiguous"
}

/// Turns matches and what lies between them into pieces.
struct Splitter {
  private let behavior: SplitBehavior
  private let inverted: Bool
  /// End of what was seen.
  private var end = 0
  /// The piece that may still grow.
  private var open: Range<Int>?
  private var lastWasMatch = false

  init(_ behavior: SplitBehavior, inverted: Bool = false) {
    self.behavior = behavior
    self.inverted = inverted
  }

  /// Takes the next match, with what lies before it.
  @inline(__always)
  mutating func match(_ range: Range<Int>, _ pieces: inout PieceCollector) {
    if range.lowerBound != end { take(end..<range.lowerBound, isMatch: inverted, &pieces) }
    take(range, isMatch: !inverted, &pieces)
    end = range.upperBound
  }

  /// Takes the rest of a text of `count` bytes.
  mutating func finish(_ count: Int, _ pieces: inout PieceCollector) {
    if end != count { take(end..<count, isMatch: inverted, &pieces) }
    if let open { pieces.append(open) }
  }

  @inline(__always)
  private mutating func take(_ range: Range<Int>, isMatch: Bool, _ pieces: inout PieceCollector) {
    switch behavior {
    case .isolated: pieces.append(range)
    case .removed: if !isMatch { pieces.append(range) }
    case .contiguous: join(range, isMatch == lastWasMatch, &pieces)
    case .mergedWithPrevious: join(range, isMatch && !lastWasMatch, &pieces)
    // A match waits for what follows; only what does not match takes it along.
    case .mergedWithNext: join(range, lastWasMatch && !isMatch, &pieces)
    }
    lastWasMatch = isMatch
  }

  private mutating func join(_ range: Range<Int>, _ joins: Bool, _ pieces: inout PieceCollector) {
    if let piece = open, joins {
      open = piece.lowerBound..<range.upperBound
    } else {
      if let open { pieces.append(open) }
      open = range
    }
  }
}
