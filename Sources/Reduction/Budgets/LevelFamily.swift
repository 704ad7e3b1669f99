public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
public import EspalierNumerics

/// The levels that a kind of method can be asked for, with what each costs before the method has run.
public enum LevelFamily: Sendable, Hashable {
  /// ``MatrixBudget/sparsity(_:)`` in this pattern, whose own share does not count; for ``PruningPattern/groups(keep:of:)``
  /// ``MatrixBudget/pattern(keep:of:)`` of the same `of`. Stored in place, or as a bitmap and what is left.
  case zeros(PruningPattern, sparse: Bool)
  /// ``MatrixBudget/parameters(_:)`` of two factors.
  case factors
  /// ``MatrixBudget/parameters(_:)`` of ``CUR``.
  case cur

  /// The most that a matrix takes at a level: numbers that are stored, zeros not counted, and bytes.
  ///
  /// Weights that were zero before take less, and so does what a method removes beyond its share (``SparseGPT``). A shift
  /// of the outputs (``FeaturePCA``) is the layer's bias and not counted.
  ///
  /// - Throws: `reduction` for a level of another family, or one that the shape does not allow; `matrix.shape`;
  ///   `matrix.format`.
  public func size(
    at level: MatrixBudget, rows: Int, columns: Int, elementType: ElementType
  ) throws(Problem) -> (numbers: Int, bytes: Int) {
    guard let count = [rows, columns].checkedProduct else {
      throw Problem(.matrixShape, "a matrix of \(rows) x \(columns)")
    }
    let form: StoredForm
    let numbers: Int
    switch (self, level) {
    case (.zeros(.groups(_, let of), let sparse), .pattern(let keep, let levelOf)) where of == levelOf:
      numbers = count - (try PruningPattern.groups(keep: keep, of: of).zeroCount(rows: rows, columns: columns))
      form = sparse ? .sparse(.groups(keep: keep, of: of), numbers: numbers) : .dense
    case (.zeros(.groups, _), _): throw other(level)
    case (.zeros(let pattern, let sparse), .sparsity(let share)):
      numbers = count - (try pattern.with(share: share).zeroCount(rows: rows, columns: columns))
      form = sparse ? .sparse(.unstructured, numbers: numbers) : .dense
    case (.factors, .parameters), (.factors, .rank):
      let rank = try level.rank(outputs: rows, inputs: columns, method: "a factorization")
      (numbers, form) = (rank * (rows + columns), .lowRank(rank))
    case (.cur, .parameters), (.cur, .rank):
      let rank = try CUR.rank(level, outputs: rows, inputs: columns)
      (numbers, form) = (rank * (rows + columns + rank), .cur(chosenColumns: rank, chosenRows: rank))
    default: throw other(level)
    }
    return (numbers, try form.bytes(rows: rows, columns: columns, elementType: elementType))
  }

  private func other(_ level: MatrixBudget) -> Problem {
    switch self {
    case .zeros(.groups(_, let of), _):
      Problem(.reduction, "\(level) is no level of patterns", remedy: "They keep so many of \(of).")
    case .zeros: Problem(.reduction, "\(level) is no level of pruning", remedy: "Give a sparsity.")
    case .factors, .cur:
      Problem(
        .reduction, "\(level) is no level of a factorization", remedy: "Give a rank or a share of the parameters.")
    }
  }
}

extension MatrixBudget: CustomStringConvertible {
  public var description: String {
    switch self {
    case .sparsity(let share): "sparsity \(share)"
    case .pattern(let keep, let of): "\(keep):\(of)"
    case .rank(let rank): "rank \(rank)"
    case .parameters(let share): "parameters \(share)"
    }
  }
}

extension PruningPattern {
  /// The same with another share; groups have none and stay.
  func with(share: Double) -> PruningPattern {
    switch self {
    case .perRow: .perRow(share)
    case .perLayer: .perLayer(share)
    case .groups: self
    case .wholeRows: .wholeRows(share)
    case .wholeColumns: .wholeColumns(share)
    case .blocks(_, let rows, let columns): .blocks(share, rows: rows, columns: columns)
    }
  }

  /// How many weights ``mask(of:parallel:)`` marks.
  ///
  /// - Throws: `reduction` for a share outside 0 to 1 or sizes that do not divide the matrix.
  func zeroCount(rows: Int, columns: Int) throws(Problem) -> Int {
    try check(rows: rows, columns: columns)
    switch self {
    case .perRow(let share): return rows * Int(Double(columns) * share)
    case .perLayer(let share): return Int(Double(rows * columns) * share)
    case .groups(let keep, let of): return rows * columns / of * (of - keep)
    case .wholeRows(let share): return columns * Int(Double(rows) * share)
    case .wholeColumns(let share): return rows * Int(Double(columns) * share)
    case .blocks(let share, let height, let width):
      return height * width * Int(Double(rows / height * (columns / width)) * share)
    }
  }
}
