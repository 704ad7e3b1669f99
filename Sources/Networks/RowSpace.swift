/// Whose rows a slot has, as far as a program says it. Values of one space are of the same sequences and can be added
/// row by row; only the size of pictures is left to what a batch brings.
indirect enum RowSpace: Sendable, Hashable {
  case tokens
  case decoderTokens
  /// The pixels of pictures, of whatever size.
  case pictures
  /// So many heads of attention, of whatever sequence.
  case heads(Int)
  /// Sequences with a row before their first.
  case prepended(RowSpace)
  /// One row for each sequence.
  case sequences(RowSpace)

  /// What the batch was given that many sequences of.
  enum Batch: Sendable, Hashable { case texts, pictures }

  /// Nil for what belongs to no sequence.
  var batch: Batch? {
    switch self {
    case .tokens, .decoderTokens: .texts
    case .pictures: .pictures
    case .heads: nil
    case .prepended(let space), .sequences(let space): space.batch
    }
  }
}

extension RowSpace: CustomStringConvertible {
  /// For messages: "of the tokens".
  var description: String {
    switch self {
    case .tokens: "of the tokens"
    case .decoderTokens: "of the decoder's tokens"
    case .pictures: "of pictures"
    case .heads(let count): "of \(count) heads"
    case .prepended(let space): "\(space) and one before them"
    case .sequences(let space): "that stand for all \(space)"
    }
  }
}

/// What a slot holds, as far as a program says it.
struct SlotLayout: Sendable, Hashable {
  /// Entries of a row; nil for pictures as they come, whose channels only a batch knows.
  var width: Int?
  var rows: RowSpace
  /// Whether they are whole numbers and not floats.
  var holdsIndices = false

  /// Beyond any model there is. So much can be multiplied by a number of rows and counted in bytes.
  static let widest = 1 << 26

  /// Slots that a batch fills before the first section.
  static let batch: [String: SlotLayout] = [
    "tokens": SlotLayout(width: 1, rows: .tokens, holdsIndices: true),
    "types": SlotLayout(width: 1, rows: .tokens, holdsIndices: true),
    "positions": SlotLayout(width: 1, rows: .tokens, holdsIndices: true),
    "decoderTokens": SlotLayout(width: 1, rows: .decoderTokens, holdsIndices: true),
    "pixels": SlotLayout(width: nil, rows: .pictures),
  ]
}
