internal import CKernels
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierLinearMaps
public import EspalierNumerics

/// Rounds weights column by column and lets those to their right make up for the errors.
///
/// ```
/// q[i, j] = nearest level to W[i, j],   W[i, l] -= (W[i, j] - q[i, j]) / U[j, j] U[j, l]  for l > j     (``ColumnSweep``)
/// ```
///
/// W `[outputs, inputs]`, levels of an ``IntegerGrid``. Grids of groups are fitted when the sweep reaches a group, to the
/// weights as updated by then; with `fit_at` block as they stand when its block begins (as the authors' code does); with
/// `static_groups` beforehand, as grids of rows and matrices always are. With `act_order` columns are swept from the
/// largest mean square of their inputs to the least; groups that are not static are then those of the sweep, which
/// ``QuantizedMatrix/groupOfColumn`` says.
///
/// With a budget of zeros weights are pruned as by ``SparseGPT`` and the others rounded in the same sweep: joint
/// sparsification and quantization (`frantar2023sparsegpt`, section 3.5). Weights of inputs that were always zero go.
///
/// Cost: as ``SparseGPT``.
public struct GPTQ: SharedInputs {
  public static let card = MethodCard(
    name: "gptq", summary: "Rounds weights column by column and updates the rest by the inputs' second moment.",
    source: "frantar2023gptq",
    parameters: Quantization.parameters() + [
      ParameterCard("act_order", .flag, default: .flag(false), "whether columns are swept by the size of their inputs"),
      ParameterCard(
        "static_groups", .flag, default: .flag(false),
        "whether the grids of groups are fitted before anything is rounded"),
      ParameterCard(
        "fit_at", .choice(["group", "block"]), default: .word("group"),
        "when the grids of groups are fitted: as the sweep reaches the group, or its block of columns"),
    ] + Quantization.blockParameters,
    notes: """
      The authors' code fits grids of groups as of the beginning of a block of columns (fit_at=block), the paper as of the \
      beginning of the group. Symmetric grids are symmetric for weights of one sign too.
      """)
  public static let needs = StatisticsNeed.moment

  let grid: IntegerGrid
  private let byActivity: Bool
  private let isStatic: Bool
  private let fitsAtBlock: Bool
  private let blockSize: Int
  private let damp: Double

  public init(_ parameters: ReductionParameters) throws(Problem) {
    grid = try Quantization.grid(parameters)
    byActivity = parameters.flag("act_order") ?? false
    fitsAtBlock = parameters.word("fit_at") == "block"
    blockSize = Int(parameters.number("block_size") ?? 128)
    damp = parameters.number("damp") ?? 0.01
    var isStatic = parameters.flag("static_groups") ?? false
    if case .columns(let length) = grid.sharing {
      guard isStatic || blockSize % length == 0 else {
        throw Problem(
          .reduction, "gptq: block_size \(blockSize) is no multiple of group_size \(length)",
          remedy: "Set a block_size that is, or static_groups.")
      }
    } else {
      isStatic = true
    }
    self.isStatic = isStatic
  }

  public func check(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget
  ) throws(Problem) {
    try Quantization.checkZeros(budget, for: weight, Self.card.name)
    if case .pattern(_, let of) = budget {
      guard blockSize % of == 0 else {
        throw Problem(.reduction, "\(Self.card.name): block_size \(blockSize) is no multiple of the pattern's \(of)")
      }
      guard !byActivity else {
        throw Problem(.reduction, "gptq: a pattern of consecutive inputs does not go with act_order")
      }
    }
    _ = try Pruning.moment(statistics, for: weight, method: Self.card.name)
    try Pruning.check(weight)
  }

  public func prepare(
    _ statistics: SiteStatistics?, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ColumnFactor {
    let (moment, count) = try Pruning.moment(statistics, method: Self.card.name)
    return try ColumnFactor(
      moment: moment, count: count, damp: damp, blockSize: blockSize, byActivity: byActivity, parallel: parallel)
  }

  public func reduce(
    _ weight: Matrix<Float>, _ factor: ColumnFactor, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    let matrix = try solve(
      weight, factor, to: budget, importance: Quantization.importance(statistics), parallel: parallel)
    return try Quantization.result(matrix, of: weight, statistics, parallel)
  }

  public func workingBytes(_ shapes: [(outputs: Int, inputs: Int)], threads: Int) -> Int {
    Quantization.workingBytes(shapes, grid, copies: byActivity ? 3 : 2)
      + ColumnFactor.workingBytes(shapes, blockSize: blockSize, byActivity: byActivity)
  }

  /// The quantized weight alone.
  func solve(
    _ weight: Matrix<Float>, _ factor: ColumnFactor, to budget: MatrixBudget = .sparsity(0),
    importance: [Double]? = nil, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> QuantizedMatrix {
    let codes = grid.codes(rows: weight.rows, columns: weight.columns)
    if isStatic { try fit(weight, factor, codes, importance, parallel) }
    var ordered = weight
    if let order = factor.order { ordered = try Self.ordered(weight, order, parallel) }
    let importance = importance.map { values in factor.order.map { $0.map { values[Int($0)] } } ?? values }
    let groupOf = Array(UnsafeBufferPointer(start: codes.groupOf, count: codes.columns))
    if isStatic, let order = factor.order {
      for (place, column) in order.enumerated() { codes.groupOf[place] = groupOf[Int(column)] }
    }
    try importance.withPointer { (pointer) throws(Problem) in
      let fitsAsReached = !isStatic && !fitsAtBlock
      var rounding = ColumnSweep.Rounding(
        grids: codes.native(
          grid.fit, zero: grid.zero, fitLength: fitsAsReached ? grid.groupLength(of: weight.columns) : 0,
          importance: pointer))
      if !isStatic, fitsAtBlock {
        let grid = grid
        rounding.begin = { (block) throws(Problem) in grid.fit(block, codes, importance: importance) }
      }
      let swept = try ColumnSweep(factor: factor, budget: budget, rounding: rounding).run(ordered, parallel: parallel)
      try Pruning.check(swept)
    }
    var groupOfColumn: [Int32]?
    if !isStatic, let order = factor.order {
      var groups = [Int32](repeating: 0, count: codes.columns)
      for (place, column) in order.enumerated() { groups[Int(column)] = groupOf[place] }
      groupOfColumn = groups
    }
    return try grid.matrix(codes, order: factor.order, groupOfColumn: groupOfColumn)
  }

  /// Grids of rows and of the matrix are fitted to all weights, those of groups without the weights that go whatever.
  private func fit(
    _ weight: Matrix<Float>, _ factor: ColumnFactor, _ codes: GridCodes, _ importance: [Double]?,
    _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    var fitted = weight
    if case .columns = grid.sharing {
      for place in factor.dead {
        let column = factor.order.map { Int($0[place]) } ?? place
        for row in 0..<weight.rows { fitted[row, column] = 0 }
      }
    }
    try grid.fitAll(fitted, codes, importance: importance, parallel)
  }

  private static func ordered(
    _ weight: Matrix<Float>, _ order: [Int32], _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Matrix<Float> {
    let n = weight.columns
    var failure: Problem?
    let elements = [Float](unsafeUninitializedCapacity: weight.elements.count) { target, count in
      count = weight.elements.count
      guard let target = target.baseAddress else { return }
      do throws(Problem) {
        try weight.elements.withUnsafeBufferPointer { (source) throws(Problem) in
          guard let source = source.baseAddress else { return }
          try parallel(weight.rows) { (row) throws(Problem) in
            es_order_floats(source + row * n, order, Int64(n), target + row * n)
          }
        }
      } catch { failure = error }
    }
    if let failure { throw failure }
    return try Matrix(rows: weight.rows, columns: n, elements: elements)
  }
}
