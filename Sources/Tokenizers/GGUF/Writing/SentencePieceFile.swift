internal import EspalierBasics

/// A model file of SentencePiece (`tokenizer.model`, `spiece.model`): a protocol buffer of pieces with their scores and
/// types, and of how texts are normalized.
///
/// Fields by number, as `sentencepiece_model.proto` has them: 1 pieces (1 text, 2 score, 3 type), 2 training (3 kind
/// of model, 24 whether spaces end words), 3 normalization (2 character map, 3 prefix, 4 extra spaces).
struct SentencePieceFile: Sendable {
  enum Model: Int, Sendable {
    case unigram = 1
    case bytePair = 2
    case word = 3
    case character = 4
  }

  struct Piece: Sendable {
    var text: [UInt8] = []
    var score: Float = 0
    /// Numbered there as in GGUF files.
    var kind = GGUFVocabulary.Kind.normal
  }

  private(set) var pieces: [Piece] = []
  private(set) var model = Model.unigram
  private(set) var spacesEndWords = false
  private(set) var characterMap: [UInt8] = []
  private(set) var addsPrefix = true
  private(set) var removesExtraSpaces = true

  /// - Throws: ``Problem/Code/tokenizerMalformed`` if the bytes are no such file.
  init(bytes: [UInt8]) throws(Problem) {
    var message = ProtocolBuffer(bytes[...])
    while let field = try message.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let piece)): try add(piece)
      case (2, .bytes(let trainer)): try readTrainer(trainer)
      case (3, .bytes(let normalizer)): try readNormalizer(normalizer)
      default: break
      }
    }
    guard !pieces.isEmpty else { throw Problem(.tokenizerMalformed, "the SentencePiece model has no pieces") }
  }

  private mutating func add(_ bytes: ArraySlice<UInt8>) throws(Problem) {
    var message = ProtocolBuffer(bytes)
    var piece = Piece()
    while let field = try message.next() {
      switch (field.number, field.value) {
      case (1, .bytes(let text)): piece.text = Array(text)
      case (2, .word(let bits)): piece.score = Float(bitPattern: bits)
      case (3, .number(let number)):
        guard let kind = Int(exactly: number).flatMap(GGUFVocabulary.Kind.init), kind != .undefined else {
          throw Problem(.tokenizerMalformed, "piece \(pieces.count) of the SentencePiece model has the type \(number)")
        }
        piece.kind = kind
      default: break
      }
    }
    pieces.append(piece)
  }

  private mutating func readTrainer(_ bytes: ArraySlice<UInt8>) throws(Problem) {
    var message = ProtocolBuffer(bytes)
    while let field = try message.next() {
      switch (field.number, field.value) {
      case (3, .number(let number)):
        guard let model = Int(exactly: number).flatMap(Model.init) else {
          throw Problem(.tokenizerMalformed, "the SentencePiece model is of the kind \(number)")
        }
        self.model = model
      case (24, .number(let number)): spacesEndWords = number != 0
      default: break
      }
    }
  }

  private mutating func readNormalizer(_ bytes: ArraySlice<UInt8>) throws(Problem) {
    var message = ProtocolBuffer(bytes)
    while let field = try message.next() {
      switch (field.number, field.value) {
      case (2, .bytes(let map)): characterMap = Array(map)
      case (3, .number(let number)): addsPrefix = number != 0
      case (4, .number(let number)): removesExtraSpaces = number != 0
      default: break
      }
    }
  }
}

/// Reads the fields of one message in the wire format of protocol buffers.
private struct ProtocolBuffer {
  enum Value {
    case number(UInt64)
    /// Four bytes.
    case word(UInt32)
    case bytes(ArraySlice<UInt8>)
  }

  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  private static let cutOff = Problem(.tokenizerMalformed, "the SentencePiece model is cut off or none at all")

  /// The next field; nil at the end.
  mutating func next() throws(Problem) -> (number: UInt64, value: Value)? {
    guard !rest.isEmpty else { return nil }
    let tag = try number()
    let value: Value
    switch tag & 7 {
    case 0: value = .number(try number())
    case 1: value = .bytes(try take(8))
    case 2:
      guard let count = Int(exactly: try number()) else { throw Self.cutOff }
      value = .bytes(try take(count))
    case 5: value = .word(try take(4).reversed().reduce(0) { $0 << 8 | UInt32($1) })
    default: throw Self.cutOff
    }
    return (tag >> 3, value)
  }

  private mutating func take(_ count: Int) throws(Problem) -> ArraySlice<UInt8> {
    guard count <= rest.count else { throw Self.cutOff }
    defer { rest = rest.dropFirst(count) }
    return rest.prefix(count)
  }

  /// Seven bits a byte, the lowest first.
  private mutating func number() throws(Problem) -> UInt64 {
    var number: UInt64 = 0
    for shift in 0..<10 {
      guard let byte = rest.popFirst() else { throw Self.cutOff }
      number |= UInt64(byte & 0x7F) << UInt64(7 * shift)
      if byte < 0x80 { return number }
    }
    throw Self.cutOff
  }
}
