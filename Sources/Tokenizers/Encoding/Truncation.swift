public import EspalierBasics

/// Cuts long inputs.
public struct Truncation: Sendable, Hashable {
  /// Which end is cut off.
  public enum Direction: String, Sendable, Hashable {
    case left = "Left"
    case right = "Right"
  }

  /// Which of a pair is cut.
  public enum Strategy: String, Sendable, Hashable {
    case longestFirst = "LongestFirst"
    case onlyFirst = "OnlyFirst"
    case onlySecond = "OnlySecond"
  }

  /// Most tokens, those included that the post-processor puts in.
  public var maximumLength: Int
  /// How many tokens a part that was cut off repeats of the one before it; less than what a part holds.
  public var stride: Int
  public var strategy: Strategy
  public var direction: Direction

  public init(
    maximumLength: Int = 512, stride: Int = 0, strategy: Strategy = .longestFirst, direction: Direction = .right
  ) {
    self.maximumLength = maximumLength
    self.stride = stride
    self.strategy = strategy
    self.direction = direction
  }

  /// Cuts one encoding or a pair to `length` tokens in all.
  func apply(to encodings: inout [Encoding], length: Int) throws(Problem) {
    let total = encodings.reduce(0) { $0 + $1.count }
    guard length > 0 else {
      for index in encodings.indices { encodings[index].truncate(to: 0, stride: stride, from: direction) }
      return
    }
    guard total > length else { return }
    switch strategy {
    case .longestFirst where encodings.count == 2:
      let (first, second) = Self.shares(encodings[0].count, encodings[1].count, length)
      try truncate(&encodings[0], to: first)
      try truncate(&encodings[1], to: second)
    case .longestFirst: try truncate(&encodings[0], to: length)
    case .onlyFirst, .onlySecond:
      let index = strategy == .onlyFirst ? 0 : 1
      guard encodings.indices.contains(index) else {
        throw Problem(.tokenizerTruncation, "truncation is set to cut the second text only, and there is none")
      }
      let rest = encodings[index].count - (total - length)
      guard rest > 0 else {
        throw Problem(
          .tokenizerTruncation,
          "the \(index == 0 ? "first" : "second") text is too short to be cut to \(length) tokens in all")
      }
      try truncate(&encodings[index], to: rest)
    }
  }

  private func truncate(_ encoding: inout Encoding, to length: Int) throws(Problem) {
    guard length >= encoding.count || length == 0 || stride < length else {
      throw Problem(
        .tokenizerTruncation, "the stride of truncation, \(stride), is not less than the \(length) tokens that remain")
    }
    encoding.truncate(to: length, stride: stride, from: direction)
  }

  /// How many tokens of each remain: the longer is cut first.
  private static func shares(_ first: Int, _ second: Int, _ length: Int) -> (Int, Int) {
    var (shorter, longer) = (min(first, second), max(first, second))
    longer = shorter > length ? shorter : max(shorter, length - shorter)
    if shorter + longer > length {
      shorter = length / 2
      longer = shorter + length % 2
    }
    return first > second ? (longer, shorter) : (shorter, longer)
  }
}

/// Fills up short inputs.
public struct Padding: Sendable, Hashable {
  public enum Direction: String, Sendable, Hashable {
    case left = "Left"
    case right = "Right"
  }

  /// The length of all, or that of the longest in a batch.
  public var length: Int?
  public var direction: Direction
  public var multiple: Int?
  public var id: Int32
  public var typeID: Int32
  public var token: String

  public init(
    length: Int? = nil, direction: Direction = .right, multiple: Int? = nil, id: Int32 = 0, typeID: Int32 = 0,
    token: String = "[PAD]"
  ) {
    self.length = length
    self.direction = direction
    self.multiple = multiple
    self.id = id
    self.typeID = typeID
    self.token = token
  }

  /// Pads a batch to one length.
  func apply(to encodings: inout [Encoding]) {
    var length = self.length ?? encodings.reduce(0) { max($0, $1.count) }
    if let multiple, multiple > 0, length % multiple > 0 { length += multiple - length % multiple }
    for index in encodings.indices { encodings[index].pad(to: length, self) }
  }
}

extension Problem.Code {
  /// Truncation is set so that a text cannot be cut.
  public static let tokenizerTruncation = Problem.Code("tokenizer.truncation")
}
