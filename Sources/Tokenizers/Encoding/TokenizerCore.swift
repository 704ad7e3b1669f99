internal import EspalierBasics
internal import Synchronization

/// The pipeline itself, shared by all copies of a ``Tokenizer``.
final class TokenizerCore: Sendable {
  /// How much of an encoding is asked for.
  enum Detail {
    /// Ids; the other lists stay empty.
    case ids
    case all(OffsetUnit)
  }

  let parts: Tokenizer.Parts
  let added: AddedTokens
  private let model: any SubwordModel
  private let steps: [PreTokenizer]
  /// Whether byte-level steps write their alphabet: not for a model that takes the bytes themselves.
  private let mapsBytes: Bool
  /// The model's tokens by id, as far as ids are dense.
  private let names: [String]
  /// Caches that no encoding is using.
  private let scratches = Mutex<[Scratch]>([])

  /// What an encoding works with, kept for the next one; only one encoding has it at a time.
  final class Scratch: @unchecked Sendable {
    var cache = WordCache()
    var tokens: [WordToken] = []
  }

  init(_ parts: Tokenizer.Parts) throws(Problem) {
    self.parts = parts
    added = try AddedTokens(
      parts.addedTokens, normalizer: parts.normalizer, longestFirst: parts.matchesLongestFirst)
    steps = parts.preTokenizer?.steps ?? []
    let byteLevelCount = steps.count { if case .byteLevel = $0 { true } else { false } }
    var endsWithBytes = false
    if case .byteLevel = steps.last { endsWithBytes = byteLevelCount == 1 }
    if parts.model.takesBytes {
      (model, mapsBytes) = (parts.model, false)
    } else if endsWithBytes, let model = (parts.model as? BytePairModel)?.onBytes {
      (self.model, mapsBytes) = (model, false)
    } else {
      (model, mapsBytes) = (parts.model, true)
    }
    let tokens = parts.model.tokens
    names = tokens.size <= 4 * tokens.count + 65_536 ? (0..<tokens.size).map { tokens.token(Int32($0)) ?? "" } : []
  }

  func token(_ id: Int32) -> String? { added.texts[id] ?? parts.model.tokens.token(id) }

  /// Encodes one text, without special tokens.
  func encode(_ text: String, typeID: Int32, _ detail: Detail) throws(Problem) -> Encoding {
    var text = text
    let scratch = scratches.withLock { $0.popLast() } ?? Scratch()
    defer { scratches.withLock { $0.append(scratch) } }
    let result: Result<Encoding, Problem> = text.withUTF8 { bytes in
      do throws(Problem) {
        guard bytes.count < 1 << 30 else {
          throw Problem(.tokenizerTooLong, "a text of \(bytes.count) bytes is too long: less than 1 GiB can be encoded")
        }
        var writer = EncodingWriter(bytes, typeID: typeID, detail)
        try encode(bytes, &writer, scratch)
        return .success(writer.encoding)
      } catch { return .failure(error) }
    }
    return try result.get()
  }

  private func encode(
    _ bytes: UnsafeBufferPointer<UInt8>, _ writer: inout EncodingWriter, _ scratch: Scratch
  ) throws(Problem) {
    guard !bytes.isEmpty else { return }
    if added.raw.isEmpty { return try encode(stretch: bytes, at: 0, &writer, scratch) }
    for (range, token) in added.raw.cut(bytes) where !range.isEmpty {
      let part = UnsafeBufferPointer(rebasing: bytes[range])
      if token >= 0 {
        writer.append(added: token, part, at: range)
      } else {
        try encode(stretch: part, at: range.lowerBound, &writer, scratch)
      }
    }
  }

  /// Encodes what lies between added tokens of the raw text.
  private func encode(
    stretch: UnsafeBufferPointer<UInt8>, at base: Int, _ writer: inout EncodingWriter, _ scratch: Scratch
  ) throws(Problem) {
    var text = AlignedText(original: Array(stretch), base: base)
    try parts.normalizer?.apply(to: &text)
    var pieces = PieceText(text)
    if !added.normalized.isEmpty, !text.isEmpty {
      let cuts = text.withBytes { added.normalized.cut($0) }
      pieces = PieceText(
        text, pieces: cuts.filter { !$0.range.isEmpty }.map { PieceText.Piece($0.range, token: $0.token) })
    }
    for step in steps { try step.apply(to: &pieces, mapsBytes: mapsBytes) }
    let cut = pieces
    try cut.text.withBytes { (bytes) throws(Problem) -> Void in
      writer.begin(cut.text)
      for piece in cut.pieces {
        let word = UnsafeBufferPointer(rebasing: bytes[piece.range])
        if piece.token >= 0 {
          writer.append(added: piece.token, word, in: cut.text, piece.range)
          continue
        }
        scratch.tokens.removeAll(keepingCapacity: true)
        try scratch.cache.tokens(of: word, into: &scratch.tokens) { (word, tokens) throws(Problem) in
          try model.tokenize(word, into: &tokens)
        }
        writer.append(scratch.tokens, of: word, in: cut.text, piece.range, names: names, model.tokens)
      }
    }
  }

  /// Truncates, puts in special tokens and joins a pair.
  func finish(_ texts: [Encoding], addSpecialTokens: Bool) throws(Problem) -> Encoding {
    var encodings = texts
    if let truncation = parts.truncation {
      let addedCount = addSpecialTokens ? parts.postProcessor?.addedCount(isPair: texts.count == 2) ?? 0 : 0
      guard truncation.maximumLength >= addedCount else {
        throw Problem(
          .tokenizerTruncation,
          "truncation to \(truncation.maximumLength) tokens leaves no place for the \(addedCount) special tokens")
      }
      try truncation.apply(to: &encodings, length: truncation.maximumLength - addedCount)
    }
    if let processor = parts.postProcessor {
      encodings = try processor.process(encodings, addSpecialTokens: addSpecialTokens)
    }
    guard var result = encodings.first else { return Encoding() }
    for encoding in encodings.dropFirst() { result.append(encoding) }
    return result
  }
}
