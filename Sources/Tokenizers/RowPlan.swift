/// How one model's embedding is laid out anew for the output's vocabulary: where each row comes from.
///
/// Runs cover the rows `0..<rows` in order, without gaps; neighbours that continue each other are one run, so that a
/// model whose ids stay has one or two.
public struct RowPlan: Sendable, Hashable {
  public struct Run: Sendable, Hashable {
    /// Rows of the output.
    public var output: Range<Int>
    public var source: Source

    public init(output: Range<Int>, source: Source) {
      self.output = output
      self.source = source
    }
  }

  public enum Source: Sendable, Hashable {
    /// Row `output.lowerBound + k` is row `first + k` of the model with this index, which may be another model.
    case rows(model: Int, first: Int)
    /// The one row is the mean of these, summed in this order.
    case mean([Row])
    case zero
    /// Each row is the mean of this model's output rows that have another source: padding, and ids
    /// that no token has (as advised in https://nlp.stanford.edu/~johnhew/vocab-expansion.html).
    case average
  }

  public struct Row: Sendable, Hashable {
    public var model: Int
    public var row: Int

    public init(model: Int, row: Int) {
      self.model = model
      self.row = row
    }
  }

  public private(set) var runs: [Run] = []
  /// Rows of the output.
  public var rows: Int { runs.last?.output.upperBound ?? 0 }

  init() {}

  /// Appends `count` rows, as a longer last run where they continue it.
  mutating func append(_ source: Source, count: Int = 1) {
    guard count > 0 else { return }
    if let last = runs.last, last.isContinued(by: source) {
      runs[runs.count - 1].output = last.output.lowerBound..<last.output.upperBound + count
    } else {
      runs.append(Run(output: rows..<rows + count, source: source))
    }
  }

  /// True if every row of the embedding of model `index` stays where it is.
  public func isIdentity(model index: Int, embeddingRows: Int) -> Bool {
    runs == [Run(output: 0..<embeddingRows, source: .rows(model: index, first: 0))]
  }
}

extension RowPlan.Run {
  fileprivate func isContinued(by next: RowPlan.Source) -> Bool {
    switch (source, next) {
    case (.rows(let model, let first), .rows(let nextModel, let nextFirst)):
      model == nextModel && first + output.count == nextFirst
    case (.zero, .zero), (.average, .average): true
    default: false
    }
  }
}
