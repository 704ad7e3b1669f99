public import EspalierBasics
public import EspalierLinearMaps

/// What evaluation needs of an encoder: a state a token, and what its head makes of a sequence.
public protocol EncoderModel: Sendable {
  var vocabularySize: Int { get }
  /// The longest sequence the model was made for, nil if it says nothing.
  var contextLength: Int? { get }
  var mode: NumericMode { get }
  /// The names of the classes of its head, in the order of the logits; empty if it has none.
  var classNames: [String] { get }

  /// Runs sequences, each by itself and without padding, and returns the last layer's state of every token.
  ///
  /// - Throws: `network.input` if a token is not in the vocabulary or a sequence is empty.
  func hiddenStates(of sequences: [[Int32]]) throws(Problem) -> FinalStates

  /// The logits of the classes, one row of `classNames.count` a sequence.
  ///
  /// - Throws: `network.input` as ``hiddenStates(of:)``, and if the model has no head.
  func classLogits(of sequences: [[Int32]]) throws(Problem) -> [[Float]]
}
