internal import CKernels
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
    if let index = scores.elements.firstIndex(where: \.isNaN) {
      throw Problem(
        .nonFiniteMatrix, "the score at row \(index / scores.columns), column \(index % scores.columns) is not a number"
      )
    }
    let columns = scores.columns
    return try scores.elements.withUnsafeBufferPointer { (elements) throws(Problem) in
      try mask(rows: scores.rows, columns: columns, parallel: parallel) { row, target in
        guard let base = elements.baseAddress else { return }
        target.update(from: base + row * columns, count: columns)
      }
    }
  }

  /// The same for scores that are made where they are wanted.
  ///
  /// - Parameter scores: writes those of a row, `columns` numbers; may be called for several rows at once.
  func mask(
    rows: Int, columns: Int, parallel: MatrixProduct.ParallelLoop,
    scores: @escaping (_ row: Int, _ target: UnsafeMutablePointer<Double>) -> Void
  ) throws(Problem) -> PruningMask {
    try check(rows: rows, columns: columns)
    var mask = PruningMask(rows: rows, columns: columns)
    guard rows > 0, columns > 0 else { return mask }
    try mask.elements.withUnsafeMutableBufferPointer { (marks) throws(Problem) in
      guard let marks = marks.baseAddress else { return }
      let (count, width) = (rows * columns, Int64(columns))
      switch self {
      case .perRow(let share):
        let dropped = Int64(Double(columns) * share)
        try Self.eachRow(rows, columns, parallel) { row, room in
          scores(row, room)
          es_prune_mark_least(room, width, dropped, room + columns, marks + row * columns)
        }
      case .groups(let keep, let of):
        try Self.eachRow(rows, columns, parallel) { row, room in
          scores(row, room)
          es_prune_mark_least_of_groups(room, width, Int64(of), Int64(of - keep), marks + row * columns)
        }
      case .perLayer(let share):
        let all = Room<Double>(count)
        let values = all.values
        try Self.eachRow(rows, columns, parallel) { row, _ in scores(row, values + row * columns) }
        let dropped = Int(Double(count) * share)
        OrderStatistic.markLeast(dropped, of: UnsafeBufferPointer(start: values, count: count), marks)
      case .wholeRows(let share): Self.tiles(rows, columns, height: 1, width: columns, share, scores, marks)
      case .wholeColumns(let share): Self.tiles(rows, columns, height: rows, width: 1, share, scores, marks)
      case .blocks(let share, let height, let width):
        Self.tiles(rows, columns, height: height, width: width, share, scores, marks)
      }
    }
    return mask
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

  /// Calls `body` for every row with room for twice a row's numbers.
  private static func eachRow(
    _ rows: Int, _ columns: Int, _ parallel: MatrixProduct.ParallelLoop,
    _ body: @escaping (_ row: Int, _ room: UnsafeMutablePointer<Double>) -> Void
  ) throws(Problem) {
    // Short rows share a call: a loop's round is worth some thousand elements.
    let bundle = max(1, 4096 / columns)
    try parallel((rows + bundle - 1) / bundle) { (index) throws(Problem) in
      let room = Room<Double>(2 * columns)
      for row in index * bundle..<min(rows, (index + 1) * bundle) { body(row, room.values) }
    }
  }

  /// Marks whole tiles, those of the least sum of squared scores.
  private static func tiles(
    _ rows: Int, _ columns: Int, height: Int, width: Int, _ share: Double,
    _ scores: (_ row: Int, _ target: UnsafeMutablePointer<Double>) -> Void, _ marks: UnsafeMutablePointer<UInt8>
  ) {
    let across = columns / width
    var sums = [Double](repeating: 0, count: rows / height * across)
    let room = Room<Double>(columns)
    for i in 0..<rows {
      scores(i, room.values)
      for j in 0..<columns { sums[i / height * across + j / width] += room.values[j] * room.values[j] }
    }
    var gone = [UInt8](repeating: 0, count: sums.count)
    sums.withUnsafeBufferPointer { sums in
      gone.withUnsafeMutableBufferPointer { gone in
        guard let gone = gone.baseAddress else { return }
        OrderStatistic.markLeast(Int(Double(sums.count) * share), of: sums, gone)
      }
    }
    for i in 0..<rows {
      for j in 0..<columns { marks[i * columns + j] = gone[i / height * across + j / width] }
    }
  }
}

// MARK: - As parameters of a method

extension PruningPattern {
  /// The parameters that say over what a budget of sparsity is spent.
  ///
  /// - Parameter spansModels: whether scores of different matrices can be compared.
  static func parameters(scope: String, spansModels: Bool = false) -> [ParameterCard] {
    [
      ParameterCard(
        "scope", .choice(["row", "layer"] + (spansModels ? ["model"] : [])), default: .word(scope),
        "whether each output loses the same share of its weights, or the matrix as a whole does"
          + (spansModels ? ", or all matrices of the model together, by one threshold" : "")),
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
