internal import EspalierBasics

/// A pattern compiled for a backtracking matcher.
struct PatternProgram: Sendable {
  enum Instruction: Sendable {
    case set(ScalarSet)
    /// As many scalars of a set as `greed` says; every count between is a place to come back to.
    case run(ScalarSet, minimum: Int, maximum: Int, PatternNode.Greed)
    /// Goes on at the first target; comes back to the second.
    case split(Int, Int)
    case jump(Int)
    case assertion(PatternNode.Assertion)
    /// Remembers where a round of a loop begins.
    case mark(Int)
    /// Leaves the loop if the round has matched nothing: goes on at the target.
    case progress(Int, leave: Int)
    /// The part up to `end` matches ahead of here, or does not; nothing is consumed.
    case look(end: Int, negative: Bool)
    /// The part up to `end` matches what ends here, `minimum` to `maximum` scalars, or does not.
    case lookBehind(end: Int, minimum: Int, maximum: Int, negative: Bool)
    /// The part up to `end` matches once, in its first way.
    case atomic(end: Int)
    case accept
  }

  private(set) var instructions: [Instruction] = []
  private(set) var marks = 0
  let first: FirstScalars

  private static let maximumInstructions = 50_000

  init(_ node: PatternNode) throws(Problem) {
    first = node.first
    try emit(node)
    instructions.append(.accept)
  }

  private mutating func emit(_ node: PatternNode) throws(Problem) {
    guard instructions.count < Self.maximumInstructions else {
      throw Problem(.tokenizerPattern, "a pattern of the tokenizer is too large")
    }
    switch node {
    case .empty: break
    case .set(let set): instructions.append(.set(set))
    case .sequence(let nodes): for node in nodes { try emit(node) }
    case .alternatives(let nodes): try emit(alternatives: nodes[...])
    case .assertion(let assertion): instructions.append(.assertion(assertion))
    case .repeated(let node, let minimum, let maximum, let greed):
      try emit(node, minimum, maximum, greed)
    case .atomic(let node): try emitPart(node) { .atomic(end: $0) }
    case .look(let node, let behind, let negative):
      let length = node.length
      try emitPart(node) { end in
        behind
          ? .lookBehind(end: end, minimum: length.minimum, maximum: length.maximum ?? 0, negative: negative)
          : .look(end: end, negative: negative)
      }
    }
  }

  /// A part that is matched by itself, behind the instruction that says how.
  private mutating func emitPart(_ node: PatternNode, _ make: (Int) -> Instruction) throws(Problem) {
    let start = instructions.count
    instructions.append(.accept)
    try emit(node)
    instructions.append(.accept)
    instructions[start] = make(instructions.count)
  }

  private mutating func emit(alternatives nodes: ArraySlice<PatternNode>) throws(Problem) {
    guard let head = nodes.first else { return }
    guard nodes.count > 1 else { return try emit(head) }
    let split = instructions.count
    instructions.append(.accept)
    try emit(head)
    let exit = instructions.count
    instructions.append(.accept)
    instructions[split] = .split(split + 1, instructions.count)
    try emit(alternatives: nodes.dropFirst())
    instructions[exit] = .jump(instructions.count)
  }

  private mutating func emit(
    _ node: PatternNode, _ minimum: Int, _ maximum: Int?, _ greed: PatternNode.Greed
  ) throws(Problem) {
    if case .set(let set) = node {
      instructions.append(.run(set, minimum: minimum, maximum: maximum ?? .max, greed))
      return
    }
    if greed == .possessive {
      return try emitPart(.repeated(node, minimum: minimum, maximum: maximum, .greedy)) { .atomic(end: $0) }
    }
    for _ in 0..<minimum { try emit(node) }
    if let maximum {
      var splits: [Int] = []
      for _ in minimum..<max(minimum, maximum) {
        splits.append(instructions.count)
        instructions.append(.accept)
        try emit(node)
      }
      for split in splits { setSplit(at: split, exit: instructions.count, greed) }
      return
    }
    let split = instructions.count
    instructions.append(.accept)
    let mark = marks
    let mayBeEmpty = node.length.minimum == 0
    if mayBeEmpty {
      marks += 1
      instructions.append(.mark(mark))
    }
    try emit(node)
    let exit = instructions.count + (mayBeEmpty ? 2 : 1)
    if mayBeEmpty { instructions.append(.progress(mark, leave: exit)) }
    instructions.append(.jump(split))
    setSplit(at: split, exit: exit, greed)
  }

  private mutating func setSplit(at split: Int, exit: Int, _ greed: PatternNode.Greed) {
    instructions[split] = greed == .lazy ? .split(exit, split + 1) : .split(split + 1, exit)
  }
}
