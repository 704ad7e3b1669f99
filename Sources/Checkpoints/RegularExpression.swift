public import EspalierBasics

/// A regular expression that either matches a whole text or does not.
///
/// Patterns come from strangers (adapter configs), so matching is by simulation of an automaton (Thompson 1968,
/// doi:10.1145/363347.363387): time is at most pattern times text, never exponential. The syntax is Python's without
/// what such an automaton cannot do or configs do not use: look-around, back references, named groups and flags are
/// refused by name. Greedy and lazy repeats match the same texts and are not told apart.
public struct RegularExpression: Sendable {
  private let program: [Instruction]

  private enum Instruction: Sendable {
    case scalar(ScalarSet)
    case split(Int, Int)
    case jump(Int)
    case assertion(Node.Assertion)
    case accept
  }

  /// The longest program a pattern may become; counted repeats are written out.
  private static let maximumInstructions = 20_000

  /// - Throws: `adapter.config` for what the syntax does not allow.
  public init(_ pattern: String) throws(Problem) {
    var parser = Parser(pattern)
    var emitter = Emitter(budget: Self.maximumInstructions)
    do {
      try emitter.emit(try parser.whole())
    } catch {
      throw Problem(error.code, "the pattern \"\(pattern)\" \(error.message)", remedy: error.remedy)
    }
    program = emitter.program + [.accept]
  }

  /// Whether the pattern is found somewhere in texts: what `search` does where ``matches(_:)`` is `fullmatch`.
  public static func searching(_ pattern: String) throws(Problem) -> RegularExpression {
    // What the pattern says wrongly is told of it alone.
    _ = try RegularExpression(pattern)
    return try RegularExpression(".*(?:\(pattern)).*")
  }

  public func matches(_ text: String) -> Bool {
    let scalars = Array(text.unicodeScalars)
    var threads = ThreadSet(capacity: program.count)
    var next = ThreadSet(capacity: program.count)
    add(0, to: &threads, at: 0, in: scalars)
    for position in scalars.indices {
      next.removeAll()
      for thread in threads.members {
        if case .scalar(let set) = program[thread], set.contains(scalars[position]) {
          add(thread + 1, to: &next, at: position + 1, in: scalars)
        }
      }
      swap(&threads, &next)
      if threads.members.isEmpty { return false }
    }
    return threads.members.contains { if case .accept = program[$0] { true } else { false } }
  }

  /// Adds an instruction and all that are reached from it without reading a scalar.
  private func add(_ first: Int, to threads: inout ThreadSet, at position: Int, in scalars: [Unicode.Scalar]) {
    var pending = [first]
    while let index = pending.popLast() {
      guard threads.insert(index) else { continue }
      switch program[index] {
      case .scalar, .accept: break
      case .jump(let target): pending.append(target)
      case .split(let a, let b): pending += [b, a]
      case .assertion(let assertion):
        if assertion.holds(at: position, in: scalars) { pending.append(index + 1) }
      }
    }
  }

  /// A set of instruction indices that is emptied in constant time.
  private struct ThreadSet {
    private(set) var members: [Int] = []
    private var generation: [Int]
    private var current = 1

    init(capacity: Int) { generation = [Int](repeating: 0, count: capacity) }

    mutating func insert(_ index: Int) -> Bool {
      guard generation[index] != current else { return false }
      generation[index] = current
      members.append(index)
      return true
    }

    mutating func removeAll() {
      members.removeAll(keepingCapacity: true)
      current += 1
    }
  }

  /// Turns a tree into a program.
  private struct Emitter {
    var program: [Instruction] = []
    var budget: Int

    mutating func emit(_ node: Node) throws(Problem) {
      budget -= 1
      guard budget > 0 else { throw Problem(.adapterConfiguration, "is too large") }
      switch node {
      case .scalar(let set): program.append(.scalar(set))
      case .assertion(let assertion): program.append(.assertion(assertion))
      case .sequence(let parts): for part in parts { try emit(part) }
      case .alternatives(let choices): try emit(alternatives: choices[...])
      case .repeated(let node, let minimum, let maximum):
        for _ in 0..<minimum { try emit(node) }
        if let maximum {
          var starts: [Int] = []
          for _ in minimum..<maximum { starts.append(try emit(optional: node)) }
          for start in starts { program[start] = .split(start + 1, program.count) }
        } else {
          let start = try emit(optional: node)
          program.append(.jump(start))
          program[start] = .split(start + 1, program.count)
        }
      }
    }

    /// The node behind a split whose second target is not known yet; returns where the split is.
    private mutating func emit(optional node: Node) throws(Problem) -> Int {
      let start = program.count
      program.append(.jump(start))
      try emit(node)
      return start
    }

    private mutating func emit(alternatives choices: ArraySlice<Node>) throws(Problem) {
      guard let first = choices.first else { return }
      guard choices.count > 1 else { return try emit(first) }
      let start = try emit(optional: first)
      let exit = program.count
      program.append(.jump(exit))
      program[start] = .split(start + 1, program.count)
      try emit(alternatives: choices.dropFirst())
      program[exit] = .jump(program.count)
    }
  }
}

// MARK: - Syntax

private typealias ScalarSet = RegularExpression.ScalarSet

extension RegularExpression {
  /// Ranges of scalars, or all outside them.
  fileprivate struct ScalarSet: Sendable {
    var ranges: [ClosedRange<Unicode.Scalar>]
    var negated = false

    func contains(_ scalar: Unicode.Scalar) -> Bool {
      ranges.contains { $0.contains(scalar) } != negated
    }

    /// The scalar, if there is just one.
    var single: Unicode.Scalar? {
      guard !negated, ranges.count == 1, ranges[0].lowerBound == ranges[0].upperBound else { return nil }
      return ranges[0].lowerBound
    }

    static func only(_ scalar: Unicode.Scalar) -> ScalarSet { ScalarSet(ranges: [scalar...scalar]) }
    static let notNewline = ScalarSet(ranges: ["\n"..."\n"], negated: true)
    static let digits = ScalarSet(ranges: ["0"..."9"])
    static let word = ScalarSet(ranges: ["a"..."z", "A"..."Z", "0"..."9", "_"..."_"])
    static let space = ScalarSet(ranges: ["\t"..."\r", " "..." "])
  }

  fileprivate indirect enum Node {
    case scalar(ScalarSet)
    case assertion(Assertion)
    case sequence([Node])
    case alternatives([Node])
    case repeated(Node, minimum: Int, maximum: Int?)

    enum Assertion: Sendable {
      case start, end, wordBoundary, notWordBoundary

      func holds(at position: Int, in text: [Unicode.Scalar]) -> Bool {
        switch self {
        case .start: position == 0
        case .end: position == text.count
        case .wordBoundary: isBoundary(position, in: text)
        case .notWordBoundary: !isBoundary(position, in: text)
        }
      }

      private func isBoundary(_ position: Int, in text: [Unicode.Scalar]) -> Bool {
        let before = position > 0 && ScalarSet.word.contains(text[position - 1])
        let after = position < text.count && ScalarSet.word.contains(text[position])
        return before != after
      }
    }
  }

  /// A recursive-descent parser; messages continue `the pattern "..."`.
  fileprivate struct Parser {
    private let scalars: [Unicode.Scalar]
    private var position = 0
    private var depth = 0

    private static let maximumDepth = 64
    private static let maximumRepeats = 1000

    init(_ pattern: String) { scalars = Array(pattern.unicodeScalars) }

    private func failure(_ message: String) -> Problem { Problem(.adapterConfiguration, message) }

    private var next: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

    private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
      guard next == scalar else { return false }
      position += 1
      return true
    }

    mutating func whole() throws(Problem) -> Node {
      let node = try alternatives()
      guard position == scalars.count else { throw failure("has a ')' too many") }
      return node
    }

    private mutating func alternatives() throws(Problem) -> Node {
      depth += 1
      defer { depth -= 1 }
      guard depth <= Self.maximumDepth else { throw failure("is nested too deep") }
      var choices = [try sequence()]
      while take("|") { choices.append(try sequence()) }
      return choices.count == 1 ? choices[0] : .alternatives(choices)
    }

    private mutating func sequence() throws(Problem) -> Node {
      var parts: [Node] = []
      while let scalar = next, scalar != "|", scalar != ")" { parts.append(try repeated()) }
      return .sequence(parts)
    }

    private mutating func repeated() throws(Problem) -> Node {
      let node = try atom()
      guard let (minimum, maximum) = try quantifier() else { return node }
      if case .assertion = node { throw failure("repeats an anchor") }
      _ = take("?")
      if let scalar = next, scalar == "*" || scalar == "+" || scalar == "?" {
        throw failure("repeats a repeat")
      }
      return .repeated(node, minimum: minimum, maximum: maximum)
    }

    private mutating func quantifier() throws(Problem) -> (Int, Int?)? {
      if take("*") { return (0, nil) }
      if take("+") { return (1, nil) }
      if take("?") { return (0, 1) }
      let start = position
      guard take("{") else { return nil }
      let minimum = number()
      var maximum = minimum
      if take(",") { maximum = number() } else if minimum == nil { position = start }
      // What is no count is an ordinary brace, as in Python.
      guard position > start, take("}") else {
        position = start
        return nil
      }
      guard max(minimum ?? 0, maximum ?? 0) <= Self.maximumRepeats, minimum ?? 0 <= maximum ?? .max else {
        throw failure("has a repeat count out of range")
      }
      return (minimum ?? 0, maximum)
    }

    private mutating func number() -> Int? {
      let start = position
      while let scalar = next, ScalarSet.digits.contains(scalar) { position += 1 }
      let digits = scalars[start..<position].map(Character.init)
      return digits.isEmpty ? nil : Int(String(digits)) ?? .max
    }

    private mutating func atom() throws(Problem) -> Node {
      guard let scalar = next else { throw failure("ends too early") }
      position += 1
      switch scalar {
      case ".": return .scalar(.notNewline)
      case "^": return .assertion(.start)
      case "$": return .assertion(.end)
      case "*", "+", "?": throw failure("repeats nothing")
      case "[": return .scalar(try set())
      case "(": return try group()
      case "\\": return try escape()
      default: return .scalar(.only(scalar))
      }
    }

    private mutating func group() throws(Problem) -> Node {
      if take("?"), !take(":") {
        throw failure("uses (?\(next.map(String.init) ?? ""), which is not supported; groups and (?:...) are")
      }
      let node = try alternatives()
      guard take(")") else { throw failure("has a '(' without its ')'") }
      return node
    }

    private mutating func escape() throws(Problem) -> Node {
      if take("b") { return .assertion(.wordBoundary) }
      if take("B") { return .assertion(.notWordBoundary) }
      if take("A") { return .assertion(.start) }
      if take("Z") { return .assertion(.end) }
      return .scalar(try escapedSet())
    }

    /// What `\d`, `\.` and the like stand for; the backslash is taken.
    private mutating func escapedSet() throws(Problem) -> ScalarSet {
      guard let scalar = next else { throw failure("ends with a backslash") }
      position += 1
      switch scalar {
      case "d": return .digits
      case "w": return .word
      case "s": return .space
      case "D": return ScalarSet(ranges: ScalarSet.digits.ranges, negated: true)
      case "W": return ScalarSet(ranges: ScalarSet.word.ranges, negated: true)
      case "S": return ScalarSet(ranges: ScalarSet.space.ranges, negated: true)
      case _ where ScalarSet.word.contains(scalar) && scalar != "_":
        throw failure("uses \\\(scalar), which is not supported")
      default: return .only(scalar)
      }
    }

    /// A bracketed set; its `[` is taken.
    private mutating func set() throws(Problem) -> ScalarSet {
      var set = ScalarSet(ranges: [])
      set.negated = take("^")
      var isFirst = true
      while isFirst || !take("]") {
        isFirst = false
        let member = try setMember()
        guard !member.negated else { throw failure("has a negated class inside [...], which is not supported") }
        guard next == "-", position + 1 < scalars.count, scalars[position + 1] != "]" else {
          set.ranges += member.ranges
          continue
        }
        position += 1
        guard let low = member.single, let high = try setMember().single, low <= high else {
          throw failure("has a range that is none")
        }
        set.ranges.append(low...high)
      }
      return set
    }

    private mutating func setMember() throws(Problem) -> ScalarSet {
      guard let scalar = next else { throw failure("has a '[' without its ']'") }
      position += 1
      return scalar == "\\" ? try escapedSet() : .only(scalar)
    }
  }
}
