public import EspalierBasics
public import EspalierNumerics

/// Which weights may go together, and how many: a criterion gives every weight a score, and the least scores go.
public enum PruningPattern: Sendable, Hashable {
  /// `Int(columns * share)` weights of every row.
  case perRow(Double)
  /// `Int(rows * columns * share)` weights of the whole matrix.
  case perLayer(Double)
  /// Of every `of` consecutive weights of a row, all but `keep`.
  case groups(keep: Int, of: Int)
  /// `Int(rows * share)` whole rows, those of the least sum of squared scores.
  case wholeRows(Double)
  /// `Int(columns * share)` whole columns.
  case wholeColumns(Double)
  /// That share of the tiles of `rows` x `columns`.
  case blocks(Double, rows: Int, columns: Int)

  /// The mask that a score for every weight leads to; equal scores by index, lowest first.
  ///
  /// - Parameters:
  ///   - scores: `[outputs, inputs]`, not negative.
  ///   - parallel: shares the rows; it changes nothing in the result.
  /// - Throws: `reduction` for a share outside 0 to 1 or sizes that do not divide the matrix, `linear-algebra.non-finite`
  ///   for a score that is no number.
  public func mask(
    of scores: Matrix<Double>, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> PruningMask {
    try check(rows: scores.rows, columns: scores.columns)
    if let index = scores.elements.firstIndex(where: \.isNaN) {
      throw Problem(
        .nonFiniteMatrix, "the score at row \(index / scores.columns), column \(index % scores.columns) is not a number"
      )
    }
    switch self {
    case .perRow(let share): return try leastOfRuns(scores, length: scores.columns, share: share, parallel)
    case .perLayer(let share): return try leastOfRuns(scores, length: scores.elements.count, share: share, parallel)
    case .groups(let keep, let of):
      return try leastOfRuns(scores, length: of, dropping: of - keep, parallel)
    case .wholeRows(let share): return tiles(scores, height: 1, width: scores.columns, share: share)
    case .wholeColumns(let share): return tiles(scores, height: scores.rows, width: 1, share: share)
    case .blocks(let share, let rows, let columns): return tiles(scores, height: rows, width: columns, share: share)
    }
  }

  /// - Throws: as ``mask(of:parallel:)``.
  func check(rows: Int, columns: Int) throws(Problem) {
    switch self {
    case .perRow(let share), .perLayer(let share), .wholeRows(let share), .wholeColumns(let share):
      try Self.check(share: share)
    case .groups(let keep, let of):
      guard of > 0, (0...of).contains(keep) else {
        throw Problem(.reduction, "a pattern cannot keep \(keep) of \(of)")
      }
      guard columns % of == 0 else {
        throw Problem(.reduction, "\(columns) inputs cannot be cut into groups of \(of)")
      }
    case .blocks(let share, let height, let width):
      try Self.check(share: share)
      guard height > 0, width > 0, rows % height == 0, columns % width == 0 else {
        throw Problem(.reduction, "\(rows) x \(columns) cannot be cut into blocks of \(height) x \(width)")
      }
    }
  }

  static func check(share: Double) throws(Problem) {
    guard (0...1).contains(share) else { throw Problem(.reduction, "sparsity is \(share) but must be from 0 to 1") }
  }

  /// Runs of `length` elements in storage order, each losing its least.
  private func leastOfRuns(
    _ scores: Matrix<Double>, length: Int, share: Double = 0, dropping: Int? = nil,
    _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> PruningMask {
    var mask = PruningMask(rows: scores.rows, columns: scores.columns)
    guard length > 0, !scores.elements.isEmpty else { return mask }
    let dropped = dropping ?? Int(Double(length) * share)
    let runs = scores.elements.count / length
    // Small runs share a call: a loop's round is worth some thousand elements.
    let bundle = max(1, 4096 / length)
    try mask.elements.withUnsafeMutableBufferPointer { (marks) throws(Problem) in
      try scores.elements.withUnsafeBufferPointer { (scores) throws(Problem) in
        guard let target = marks.baseAddress else { return }
        try parallel((runs + bundle - 1) / bundle) { (index) throws(Problem) in
          for run in index * bundle..<min(runs, (index + 1) * bundle) {
            let place = run * length
            let values = UnsafeBufferPointer(rebasing: scores[place..<place + length])
            if length <= 16 {
              Self.markLeastOfFew(dropped, of: values, target + place)
            } else {
              OrderStatistic.markLeast(dropped, of: values, target + place)
            }
          }
        }
      }
    }
    return mask
  }

  private static func markLeastOfFew(
    _ count: Int, of values: UnsafeBufferPointer<Double>, _ marks: UnsafeMutablePointer<UInt8>
  ) {
    for _ in 0..<count {
      var least = -1
      for i in values.indices where marks[i] == 0 && (least < 0 || values[i] < values[least]) { least = i }
      marks[least] = 1
    }
  }

  private func tiles(_ scores: Matrix<Double>, height: Int, width: Int, share: Double) -> PruningMask {
    var mask = PruningMask(rows: scores.rows, columns: scores.columns)
    guard !scores.elements.isEmpty else { return mask }
    let across = scores.columns / width
    var sums = [Double](repeating: 0, count: scores.rows / height * across)
    for i in 0..<scores.rows {
      for j in 0..<scores.columns { sums[i / height * across + j / width] += scores[i, j] * scores[i, j] }
    }
    var gone = [UInt8](repeating: 0, count: sums.count)
    sums.withUnsafeBufferPointer { sums in
      gone.withUnsafeMutableBufferPointer { gone in
        guard let marks = gone.baseAddress else { return }
        OrderStatistic.markLeast(Int(Double(sums.count) * share), of: sums, marks)
      }
    }
    for i in 0..<scores.rows {
      for j in 0..<scores.columns { mask[i, j] = gone[i / height * across + j / width] != 0 }
    }
    return mask
  }
}

// MARK: - As parameters of a method

extension PruningPattern {
  /// The parameters that say over what a budget of sparsity is spent.
  static func parameters(scope: String) -> [ParameterCard] {
    [
      ParameterCard(
        "scope", .choice(["row", "layer"]), default: .word(scope),
        "whether each output loses the same share of its weights, or the matrix as a whole does"),
      ParameterCard(
        "structure", .choice(["element", "row", "column", "block"]), default: .word("element"),
        "what goes at a time: single weights, whole outputs, whole inputs, or tiles"),
      ParameterCard("block_rows", .integer(1...1024), default: .number(4), "rows of a tile"),
      ParameterCard("block_columns", .integer(1...1024), default: .number(4), "columns of a tile"),
    ]
  }

  /// What the budget and the parameters of ``parameters(scope:)`` come to.
  ///
  /// - Throws: `reduction` for a budget that is not one of zeros.
  init(_ budget: MatrixBudget, _ parameters: ReductionParameters, method: String) throws(Problem) {
    switch (budget, parameters.word("structure")) {
    case (.sparsity(let share), "row"?): self = .wholeRows(share)
    case (.sparsity(let share), "column"?): self = .wholeColumns(share)
    case (.sparsity(let share), "block"?):
      self = .blocks(
        share, rows: Int(parameters.number("block_rows") ?? 4), columns: Int(parameters.number("block_columns") ?? 4))
    case (.sparsity(let share), _): self = parameters.word("scope") == "row" ? .perRow(share) : .perLayer(share)
    case (.pattern(let keep, let of), "element"?), (.pattern(let keep, let of), nil):
      self = .groups(keep: keep, of: of)
    case (.pattern, let structure?):
      throw Problem(.reduction, "\(method): a pattern of single weights does not go with structure \(structure)")
    case (.rank, _), (.parameters, _): throw Pruning.budgetProblem(method)
    }
  }
}
