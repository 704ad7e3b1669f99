public import EspalierBasics

/// One token of a word: its id and the bytes of the word it stands for.
public struct WordToken: Sendable, Hashable {
  public var id: Int32
  /// Range of bytes in the word; tokens that stand for one character together share its range.
  public var start: Int32
  public var end: Int32
  /// The token's text is what stands in the word, not what the table says: something unknown, shown as it is.
  public var isLiteral: Bool

  public init(id: Int32, start: Int, end: Int, isLiteral: Bool = false) {
    self.id = id
    self.start = Int32(truncatingIfNeeded: start)
    self.end = Int32(truncatingIfNeeded: end)
    self.isLiteral = isLiteral
  }
}

/// Cuts a word, what a pre-tokenizer leaves, into tokens.
///
/// The result depends on the word alone, so that words may be remembered. A word is less than 2 GiB, not empty, and
/// UTF-8, unless the model says that it takes bytes.
public protocol SubwordModel: Sendable {
  /// The tokens that the model knows. Added tokens need not be among them.
  var tokens: TokenTable { get }
  /// Words are the bytes behind the characters of the byte-level alphabet, and may be cut inside a scalar.
  var takesBytes: Bool { get }

  /// Appends the tokens of `word`, in order.
  ///
  /// - Throws: ``Problem/Code/tokenizerUnknown`` if something is unknown and the model has no token for that.
  func tokenize(_ word: UnsafeBufferPointer<UInt8>, into tokens: inout [WordToken]) throws(Problem)
}

extension SubwordModel {
  public var takesBytes: Bool { false }
}

extension Problem.Code {
  /// A text has something that the model does not know, and the model has no token for the unknown.
  public static let tokenizerUnknown = Problem.Code("tokenizer.unknown-text")
}
