/// A text, or a pair of texts, as a model takes it: ids, and for every id where it came from. All lists have one entry
/// a token.
public struct Encoding: Sendable, Hashable {
  public var ids: [Int32] = []
  /// The tokens as text. Added tokens appear as they stood in the text, unknown ones by the model's custom.
  public var tokens: [String] = []
  /// Where in its text a token came from, in the unit that was asked for; empty for tokens that were put in.
  public var offsets: [Range<Int>] = []
  /// Which of a pair's texts a token belongs to, or what else a template says.
  public var typeIDs: [Int32] = []
  /// 1 for tokens that were put in.
  public var specialTokensMask: [UInt8] = []
  /// 0 for padding.
  public var attentionMask: [UInt8] = []
  /// Number of the piece a token is part of, counted in its text from 0; nil for tokens that were put in.
  public var wordIDs: [Int32?] = []
  /// What was cut off, in parts as long as this one (see ``Truncation``).
  public var overflowing: [Encoding] = []

  public init() {}

  /// Number of tokens.
  public var count: Int { ids.count }

  /// Tokens that a post-processor puts in.
  init(special tokens: [(id: Int32, token: String)], typeID: Int32) {
    ids = tokens.map(\.id)
    self.tokens = tokens.map(\.token)
    offsets = tokens.map { _ in 0..<0 }
    typeIDs = tokens.map { _ in typeID }
    specialTokensMask = tokens.map { _ in 1 }
    attentionMask = tokens.map { _ in 1 }
    wordIDs = tokens.map { _ in nil }
  }

  /// Without what was cut off.
  private func part(_ range: Range<Int>) -> Encoding {
    var part = Encoding()
    part.ids = Array(ids[range])
    part.tokens = Array(tokens[range])
    part.offsets = Array(offsets[range])
    part.typeIDs = Array(typeIDs[range])
    part.specialTokensMask = Array(specialTokensMask[range])
    part.attentionMask = Array(attentionMask[range])
    part.wordIDs = Array(wordIDs[range])
    return part
  }

  /// Puts `other` behind. What either has cut off is combined with the other, each part with each.
  mutating func append(_ other: Encoding) {
    var combined: [Encoding] = []
    for part in overflowing {
      for end in [other.withoutOverflow] + other.overflowing {
        var part = part
        part.append(end)
        combined.append(part)
      }
    }
    for end in other.overflowing {
      var part = withoutOverflow
      part.append(end)
      combined.append(part)
    }
    ids += other.ids
    tokens += other.tokens
    offsets += other.offsets
    typeIDs += other.typeIDs
    specialTokensMask += other.specialTokensMask
    attentionMask += other.attentionMask
    wordIDs += other.wordIDs
    overflowing = combined
  }

  var withoutOverflow: Encoding {
    var copy = self
    copy.overflowing = []
    return copy
  }

  /// Keeps at most `count` tokens; the rest goes to ``overflowing``, in parts of as many, of which each begins with
  /// `stride` tokens of the one before.
  mutating func truncate(to count: Int, stride: Int, from direction: Truncation.Direction) {
    guard count < self.count else { return }
    guard count > 0 else {
      let whole = self
      self = Encoding()
      overflowing = [whole]
      return
    }
    let step = max(1, count - stride)
    var ranges: [Range<Int>] = []
    switch direction {
    case .right:
      var start = 0
      while start < self.count {
        ranges.append(start..<min(start + count, self.count))
        if start + count >= self.count { break }
        start += step
      }
    case .left:
      var end = self.count
      while end > 0 {
        ranges.append(max(0, end - count)..<end)
        if end <= count { break }
        end -= step
      }
    }
    let parts = ranges.map { part($0) }
    self = parts[0]
    overflowing = Array(parts.dropFirst())
  }

  /// Makes this and all that was cut off at least `length` long.
  mutating func pad(to length: Int, _ padding: Padding) {
    for index in overflowing.indices { overflowing[index].pad(to: length, padding) }
    guard length > count else { return }
    var filler = Encoding(
      special: [(Int32, String)](repeating: (padding.id, padding.token), count: length - count),
      typeID: padding.typeID)
    filler.attentionMask = [UInt8](repeating: 0, count: filler.count)
    let cut = overflowing
    switch padding.direction {
    case .right:
      overflowing = []
      append(filler)
    case .left:
      filler.append(withoutOverflow)
      self = filler
    }
    overflowing = cut
  }
}
