internal import EspalierBasics

/// Matches a program against a text by backtracking, with its own stack and a bound on the work.
struct PatternMatcher {
  private let program: PatternProgram
  private let text: UnsafeBufferPointer<UInt8>
  private var stack: [Choice] = []
  private var marks: [Int]
  private var steps = 0

  /// A place to come back to.
  private enum Choice {
    case at(Int, position: Int)
    /// A greedy run that may give back scalars down to `low`.
    case shrink(next: Int, low: Int, position: Int)
    /// A lazy run that may take more scalars.
    case extend(run: Int, position: Int, left: Int)
    /// A mark to be put back.
    case mark(Int, position: Int)
  }

  /// Steps from one place in the text after which a pattern is given up; those of real tokenizers take some tens.
  private static let maximumSteps = 5_000_000

  init(_ program: PatternProgram, in text: UnsafeBufferPointer<UInt8>) {
    self.program = program
    self.text = text
    marks = [Int](repeating: -1, count: program.marks)
  }

  /// The leftmost match that begins at or after `start`.
  ///
  /// - Throws: ``Problem/Code/tokenizerPattern`` if the search takes too many steps.
  mutating func search(from start: Int) throws(Problem) -> Range<Int>? {
    var position = start
    while position <= text.count {
      if position == text.count || program.first.allows(text[position]) {
        if position == text.count, !program.first.mayBeEmpty { return nil }
        steps = 0
        if let end = try match(0, at: position) { return position..<end }
      }
      guard position < text.count else { return nil }
      position = min(text.count, position + UTF8Reading.length(text[position]))
    }
    return nil
  }

  /// Runs from an instruction to its `accept`; the end of the match, or nil.
  private mutating func match(_ start: Int, at origin: Int) throws(Problem) -> Int? {
    let floor = stack.count
    defer { stack.removeLast(stack.count - floor) }
    var index = start
    var position = origin
    while true {
      steps += 1
      guard steps < Self.maximumSteps, stack.count < 10_000_000 else {
        throw Problem(.tokenizerPattern, "a pattern of the tokenizer takes too many steps on this text")
      }
      var holds = true
      switch program.instructions[index] {
      case .accept: return position
      case .set(let set):
        if position < text.count {
          let (scalar, length) = UTF8Reading.scalar(text, at: position)
          holds = set.contains(scalar)
          position += length
        } else {
          holds = false
        }
      case .run(let set, let minimum, let maximum, let greed):
        if let end = run(set, minimum, maximum, greed, at: position, index: index) {
          position = end
        } else {
          holds = false
        }
      case .split(let first, let second):
        stack.append(.at(second, position: position))
        index = first - 1
      case .jump(let target): index = target - 1
      case .assertion(let assertion): holds = self.holds(assertion, at: position)
      case .mark(let mark):
        stack.append(.mark(mark, position: marks[mark]))
        marks[mark] = position
      case .progress(let mark, let leave):
        if marks[mark] == position { index = leave - 1 }
      case .look(let end, let negative):
        holds = (try match(index + 1, at: position) != nil) != negative
        index = end - 1
      case .lookBehind(let end, let minimum, let maximum, let negative):
        holds = try matchesBehind(index + 1, minimum, maximum, at: position) != negative
        index = end - 1
      case .atomic(let end):
        if let matched = try match(index + 1, at: position) {
          position = matched
          index = end - 1
        } else {
          holds = false
        }
      }
      if holds {
        index += 1
        continue
      }
      guard let next = backtrack(to: floor) else { return nil }
      (index, position) = next
    }
  }

  /// The last choice above `floor`, carried out.
  private mutating func backtrack(to floor: Int) -> (index: Int, position: Int)? {
    while stack.count > floor, let choice = stack.popLast() {
      switch choice {
      case .at(let index, let position): return (index, position)
      case .mark(let mark, let position): marks[mark] = position
      case .shrink(let next, let low, let position):
        let shorter = UTF8Reading.start(before: position, in: text)
        if shorter > low { stack.append(.shrink(next: next, low: low, position: shorter)) }
        return (next, shorter)
      case .extend(let run, let position, let left):
        guard case .run(let set, _, _, _) = program.instructions[run], position < text.count else { continue }
        let (scalar, length) = UTF8Reading.scalar(text, at: position)
        guard set.contains(scalar) else { continue }
        if left > 1 { stack.append(.extend(run: run, position: position + length, left: left - 1)) }
        return (run + 1, position + length)
      }
    }
    return nil
  }

  private mutating func run(
    _ set: ScalarSet, _ minimum: Int, _ maximum: Int, _ greed: PatternNode.Greed, at start: Int, index: Int
  ) -> Int? {
    var position = start
    var low = start
    var count = 0
    let wanted = greed == .lazy ? minimum : maximum
    while count < wanted, position < text.count {
      let (scalar, length) = UTF8Reading.scalar(text, at: position)
      guard set.contains(scalar) else { break }
      position += length
      count += 1
      if count == minimum { low = position }
    }
    guard count >= minimum else { return nil }
    if greed == .greedy, position > low {
      stack.append(.shrink(next: index + 1, low: low, position: position))
    } else if greed == .lazy, maximum > minimum {
      stack.append(.extend(run: index, position: position, left: maximum - minimum))
    }
    return position
  }

  private mutating func matchesBehind(
    _ start: Int, _ minimum: Int, _ maximum: Int, at position: Int
  ) throws(Problem) -> Bool {
    var begin = position
    for count in 0...maximum {
      if count >= minimum, try match(start, at: begin) == position { return true }
      guard begin > 0 else { return false }
      begin = UTF8Reading.start(before: begin, in: text)
    }
    return false
  }

  private func holds(_ assertion: PatternNode.Assertion, at position: Int) -> Bool {
    switch assertion {
    case .textStart: return position == 0
    case .textEnd: return position == text.count
    case .lastLineEnd: return position == text.count || (position == text.count - 1 && text[position] == 0x0A)
    case .lineStart: return position == 0 || (text[position - 1] == 0x0A && position < text.count)
    case .lineEnd: return position == text.count || text[position] == 0x0A
    case .wordBoundary: return isBoundary(position)
    case .notWordBoundary: return !isBoundary(position)
    }
  }

  private func isBoundary(_ position: Int) -> Bool {
    let set = ScalarSet.word
    var before = false
    if position > 0 {
      before = set.contains(UTF8Reading.scalar(text, at: UTF8Reading.start(before: position, in: text)).value)
    }
    let after = position < text.count && set.contains(UTF8Reading.scalar(text, at: position).value)
    return before != after
  }
}
