internal import EspalierBasics

/// Puts special tokens around texts, and texts together.
public indirect enum PostProcessor: Sendable {
  public struct SpecialToken: Sendable, Hashable {
    public var token: String
    public var id: Int32

    public init(_ token: String, id: Int32) {
      self.token = token
      self.id = id
    }
  }

  /// A part of a template.
  public enum TemplatePart: Sendable, Hashable {
    /// The first text (0) or the second (1).
    case text(Int, typeID: Int32)
    case special([SpecialToken], typeID: Int32)
  }

  /// `[CLS] A [SEP]`, `[CLS] A [SEP] B [SEP]`.
  case bert(separator: SpecialToken, begin: SpecialToken)
  /// `<s> A </s>`, `<s> A </s></s> B </s>`; all of type 0; offsets without white space if `trimsOffsets`.
  case roberta(separator: SpecialToken, begin: SpecialToken, trimsOffsets: Bool, addsPrefixSpace: Bool)
  /// Offsets without white space if `trimsOffsets`.
  case byteLevel(trimsOffsets: Bool, addsPrefixSpace: Bool)
  case template(single: [TemplatePart], pair: [TemplatePart])
  case sequence([PostProcessor])

  /// How many tokens are put in.
  func addedCount(isPair: Bool) -> Int {
    switch self {
    case .bert: isPair ? 3 : 2
    case .roberta: isPair ? 4 : 2
    case .byteLevel: 0
    case .template(let single, let pair):
      (isPair ? pair : single).reduce(0) { sum, part in
        if case .special(let tokens, _) = part { sum + tokens.count } else { sum }
      }
    case .sequence(let parts): parts.reduce(0) { $0 + $1.addedCount(isPair: isPair) }
    }
  }

  /// - Parameter encodings: those of the texts, or what the processor before made of them.
  func process(_ encodings: [Encoding], addSpecialTokens: Bool) throws(Problem) -> [Encoding] {
    var encodings = encodings
    switch self {
    case .sequence(let parts):
      for part in parts { encodings = try part.process(encodings, addSpecialTokens: addSpecialTokens) }
      return encodings
    case .byteLevel(let trimsOffsets, let addsPrefixSpace):
      if trimsOffsets { OffsetTrimming.apply(to: &encodings, addsPrefixSpace: addsPrefixSpace) }
      return encodings
    case .bert(let separator, let begin):
      guard addSpecialTokens else { return encodings }
      return Self.wrap(encodings, first: ([begin], [separator]), others: ([], [separator]), otherType: 1)
    case .roberta(let separator, let begin, let trimsOffsets, let addsPrefixSpace):
      if trimsOffsets { OffsetTrimming.apply(to: &encodings, addsPrefixSpace: addsPrefixSpace) }
      for index in encodings.indices { encodings[index].typeIDs = encodings[index].typeIDs.map { _ in 0 } }
      guard addSpecialTokens else { return encodings }
      for index in encodings.indices {
        for part in encodings[index].overflowing.indices {
          encodings[index].overflowing[part].typeIDs = encodings[index].overflowing[part].typeIDs.map { _ in 0 }
        }
      }
      return Self.wrap(encodings, first: ([begin], [separator]), others: ([separator], [separator]), otherType: 0)
    case .template(let single, let pair):
      guard encodings.count == 1 || encodings.count == 2 else {
        throw Problem(.tokenizerUnsupported, "a template after a processor that puts in tokens is not supported")
      }
      let parts = encodings.count == 1 ? single : pair
      var result: [Encoding] = []
      for part in parts {
        switch part {
        case .text(let index, let typeID):
          guard encodings.indices.contains(index) else {
            throw Problem(.tokenizerMalformed, "the template of one text names the second text")
          }
          encodings[index].typeIDs = encodings[index].typeIDs.map { _ in typeID }
          result.append(encodings[index])
        case .special(let tokens, let typeID):
          if addSpecialTokens { result.append(Encoding(special: tokens.map { ($0.id, $0.token) }, typeID: typeID)) }
        }
      }
      return result
    }
  }

  private typealias Ends = ([SpecialToken], [SpecialToken])

  /// Puts tokens around each text, and around all its parts that were cut off.
  private static func wrap(_ encodings: [Encoding], first: Ends, others: Ends, otherType: Int32) -> [Encoding] {
    encodings.enumerated().map { index, encoding in
      let (before, after) = index == 0 ? first : others
      let typeID = index == 0 ? 0 : otherType
      func wrapped(_ text: Encoding) -> Encoding {
        var result = Encoding(special: before.map { ($0.id, $0.token) }, typeID: typeID)
        var text = text.withoutOverflow
        text.specialTokensMask = text.specialTokensMask.map { _ in 0 }
        text.attentionMask = text.attentionMask.map { _ in 1 }
        result.append(text)
        result.append(Encoding(special: after.map { ($0.id, $0.token) }, typeID: typeID))
        return result
      }
      var result = wrapped(encoding)
      result.overflowing = encoding.overflowing.map(wrapped)
      return result
    }
  }
}
