public import EspalierBasics

/// A text that grows by tokens, as a ``Generator`` continues it.
public protocol TokenSession: AnyObject {
  /// What was read so far.
  var tokens: [Int32] { get }

  /// Reads tokens and returns the logits for what follows the last of them.
  func read(_ new: [Int32]) throws(Problem) -> [Float]
}

extension Session: TokenSession {}
