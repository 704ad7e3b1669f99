public import EspalierBasics
public import EspalierLinearMaps
public import EspalierNumerics

/// What evaluation needs of a causal language model: probabilities of the next token, tile by tile.
///
/// The states of many tokens fit in memory where their logits do not, so the two are asked for separately; two models
/// are compared by pulling the same rows of both.
public protocol LanguageModel: Sendable {
  var vocabularySize: Int { get }
  /// The longest sequence the model was made for, nil if it says nothing.
  var contextLength: Int? { get }
  var mode: NumericMode { get }

  /// Runs sequences, each by itself from position 0, and returns what the last norm gives for every token.
  ///
  /// - Throws: `network.input` if a token is not in the vocabulary or a sequence is empty.
  func finalStates(of sequences: [[Int32]]) throws(Problem) -> FinalStates

  /// The logits of rows of ``finalStates(of:)``: `rows.count * vocabularySize` floats, row by row.
  func logits(
    of states: FinalStates, rows: Range<Int>, into logits: UnsafeMutablePointer<Float>
  ) throws(Problem)
}

/// What leaves the last norm: one row a token, the sequences one after the other.
public struct FinalStates: Sendable {
  /// First row of each sequence, and at the end the number of all rows.
  public let starts: [Int]
  public let width: Int
  public let values: AlignedBuffer

  public init(starts: [Int], width: Int, values: AlignedBuffer) {
    self.starts = starts
    self.width = width
    self.values = values
  }

  public func rows(ofSequence index: Int) -> Range<Int> { starts[index]..<starts[index + 1] }
}
