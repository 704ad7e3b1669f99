public import EspalierBasics

/// What evaluation needs of a tokenizer.
public protocol TextCodec: Sendable {
  /// The ids of a text, without the special tokens that the tokenizer would put around it; special tokens spelled out
  /// in the text are text that the tokenizer recognises as it always does.
  func encode(_ text: String) throws(Problem) -> [Int32]
  /// The text of ids, special tokens left out.
  func decode(_ ids: [Int32]) throws(Problem) -> String
  /// What the tokenizer puts before a text; nil if nothing.
  var beginToken: Int32? { get }
  /// What stands for an empty context: the begin-of-sequence token, else the end-of-sequence token, whether or not the
  /// tokenizer puts it before texts; nil if there is neither.
  var prefixToken: Int32? { get }
}
