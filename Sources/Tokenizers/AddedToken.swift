public import EspalierBasics

/// A token that is matched in the text itself, before or after normalization, and not found by the tokenizer's model.
///
/// The flags are those of the `added_tokens` entries of a Hugging Face `tokenizer.json`.
public struct AddedToken: Sendable, Hashable {
  public var content: ExactString
  public var id: Int
  /// Matched only as a whole word.
  public var singleWord: Bool
  /// Takes the white space on its left with it.
  public var leftStrip: Bool
  /// Takes the white space on its right with it.
  public var rightStrip: Bool
  /// Matched in the normalized text, not in the raw text.
  public var normalized: Bool
  /// A control token, left out when text is decoded.
  public var special: Bool

  /// A plain token: not special, matched in the normalized text, strips nothing.
  public init(_ content: ExactString, id: Int) {
    self.content = content
    self.id = id
    singleWord = false
    leftStrip = false
    rightStrip = false
    normalized = true
    special = false
  }

  /// Whether the two are matched and decoded in the same way, whatever their ids.
  public func behavesLike(_ other: AddedToken) -> Bool {
    var other = other
    other.id = id
    return self == other
  }
}

extension AddedToken {
  /// Reads the object of an `added_tokens` entry, or of an `added_tokens_decoder` entry, whose id is its key.
  init?(_ json: JSON, id: Int? = nil) {
    guard let content = json["content"]?.string, let id = id ?? json["id"]?.integer, id >= 0 else { return nil }
    self.init(ExactString(content), id: id)
    special = json["special"]?.bool ?? false
    singleWord = json["single_word"]?.bool ?? false
    leftStrip = json["lstrip"]?.bool ?? false
    rightStrip = json["rstrip"]?.bool ?? false
    normalized = json["normalized"]?.bool ?? !special
  }

  private var flags: [(String, JSON)] {
    [
      ("content", .string(content.text)), ("single_word", .bool(singleWord)), ("lstrip", .bool(leftStrip)),
      ("rstrip", .bool(rightStrip)), ("normalized", .bool(normalized)), ("special", .bool(special)),
    ]
  }

  /// As `tokenizer.json` writes it under `added_tokens`.
  var listEntry: JSON { .object([("id", .number(id))] + flags) }
  /// As `tokenizer_config.json` writes it under `added_tokens_decoder`, where the key is the id.
  var decoderEntry: JSON { .object(flags) }
}
