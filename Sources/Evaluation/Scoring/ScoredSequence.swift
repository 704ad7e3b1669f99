/// A sequence a model reads from position 0, and the tokens it is scored on.
public struct ScoredSequence: Sendable, Hashable {
  public var input: [Int32]
  /// The row of `input` that predicts the first target; target `i` is predicted by row `firstRow + i`.
  public var firstRow: Int
  /// At most `input.count - firstRow`, at least one.
  public var targets: [Int32]

  public init(input: [Int32], firstRow: Int, targets: [Int32]) {
    self.input = input
    self.firstRow = firstRow
    self.targets = targets
  }

  /// A window read whole, whose tokens in `scored` (positions from 1 on) are predicted from what is before them.
  init(window: [Int32], scored: Range<Int>) {
    self.init(input: window, firstRow: scored.lowerBound - 1, targets: Array(window[scored]))
  }
}
