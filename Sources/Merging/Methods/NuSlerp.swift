internal import CKernels
public import EspalierBasics
public import EspalierExecution
internal import EspalierNumerics

/// Spherical interpolation of two models or, with a base, of their changes to it; by tensor, by row or by column.
///
/// ```
/// t = w_2 / (w_1 + w_2),   out = b + slerp(x_1 - b, x_2 - b; t)       (without a base: b = 0)
/// ```
public struct NuSlerp: MergeMethod {
  public static let card = MethodCard(
    name: "nuslerp", summary: "Spherical interpolation by weights, of models or of their changes to a base.",
    source: "mergekit",
    parameters: [
      ParameterCard("weight", .number(.anyNumber), scope: .nonBase, "Weight of the model; only the ratio matters."),
      ParameterCard(
        "nuslerp_flatten", .flag, default: .flag(true), "Treat the whole tensor as one vector."),
      ParameterCard(
        "nuslerp_row_wise", .flag, default: .flag(false),
        "Unless flattened: interpolate columns (true) instead of rows (false). The name says the reverse, as in mergekit."
      ),
    ],
    notes: "Weights must not sum to 0. Vectors count as parallel where 1 - cos² <= 1e-16."
  )
  public static let inputs = MergeInputRule(base: .optional, count: 2...3, missing: .passSingle)

  private enum Grain { case tensor, rows, columns }

  private let t: Double
  private let grain: Grain
  private let hasBase: Bool

  public init(_ parameters: MergeParameters) throws(Problem) {
    let weights = try parameters.numbers("weight")
    guard weights.count == 2 else {
      throw Problem(
        .mergeInputs, "nuslerp takes 2 models beside the base, here are \(weights.count)",
        remedy: "Use multislerp for more.")
    }
    t = try normalized(weights, name: "weight")[1]
    let columns = try parameters.flag("nuslerp_row_wise")
    grain = try parameters.flag("nuslerp_flatten") ? .tensor : columns ? .columns : .rows
    hasBase = parameters.hasBase
  }

  public var passCount: Int { grain == .rows ? 1 : 2 }

  public func layouts(shape: [Int]) -> [Tiling.Blocks] { [layout(shape)] }

  private func layout(_ shape: [Int]) -> Tiling.Blocks {
    switch grain {
    case .tensor: .flat
    case .rows: .rows(length: shape.last ?? 1)
    case .columns: .rows(length: columnCount(shape))
    }
  }

  /// Columns of the tensor as a matrix with its first dimension as rows; a vector is one column of many rows.
  private func columnCount(_ shape: [Int]) -> Int { shape.dropFirst().reduce(1, *) }

  public func residentBytes(shape: [Int], inputs: Int) -> Int {
    guard grain != .tensor else { return Gram.passBytes(shape: shape, count: inputs) }
    guard grain == .columns else { return 0 }
    let tiling = Tiling(elementCount: shape.reduce(1, *), blocks: layout(shape))
    return 3 * 8 * columnCount(shape) * (tiling.spanCount + 2)
  }

  public func merge(_ passes: MergePasses) throws(Problem) {
    switch grain {
    case .tensor:
      let (first, second) = coefficients(try Gram(passes.tensor, hasBase: hasBase))
      try passes.tensor.write { block in form(block, first, second) }
    case .rows:
      try passes.tensor.write(layout(passes.tensor.shape)) { block in
        if hasBase { block.subtractBase() }
        let (first, second) = withUnsafeTemporaryAllocation(of: Double.self, capacity: 3) { sums in
          sums.initialize(repeating: 0)
          Gram.upperTriangle(block, first: hasBase ? 1 : 0, into: sums.baseAddress!)
          return coefficients(Gram(count: 2, upperTriangle: Array(sums)))
        }
        formOfDeltas(block, first, second)
      }
    case .columns: try mergeColumns(passes.tensor)
    }
  }

  private func mergeColumns(_ tensor: TensorPasses) throws(Problem) {
    let columns = columnCount(tensor.shape)
    let first = hasBase ? 1 : 0
    let sums = try tensor.columnSums(3, length: columns) { block, sums in
      if hasBase { block.subtractBase() }
      let (a, b) = (block.inputs[first], block.inputs[first + 1])
      for column in 0..<block.count {
        let (x, y) = (Double(a[column]), Double(b[column]))
        sums[column] += x * x
        sums[columns + column] += x * y
        sums[2 * columns + column] += y * y
      }
    }
    let pairs = (0..<columns).map { column in
      coefficients(Gram(count: 2, upperTriangle: [sums[column], sums[columns + column], sums[2 * columns + column]]))
    }
    try tensor.write(.rows(length: columns)) { block in
      if hasBase { block.subtractBase() }
      let (a, b) = (block.inputs[first], block.inputs[first + 1])
      for column in 0..<block.count {
        let mixed = pairs[column].0 * Double(a[column]) + pairs[column].1 * Double(b[column])
        block.output[column] = Float(mixed + (hasBase ? Double(block.inputs[0][column]) : 0))
      }
    }
  }

  private func coefficients(_ gram: Gram) -> (Double, Double) {
    let cosine = gram[0, 1] / (max(gram.norm(0), 1e-7) * max(gram.norm(1), 1e-7))
    return slerpCoefficients(t: t, cosine: cosine) { 1 - $0 * $0 <= 1e-16 }
  }

  private func form(_ block: Block, _ first: Double, _ second: Double) {
    if hasBase { block.addDeltas([first, second]) } else { block.combine([first, second]) }
  }

  /// As ``form(_:_:_:)`` where the base has been subtracted already.
  private func formOfDeltas(_ block: Block, _ first: Double, _ second: Double) {
    block.combine(hasBase ? [1, first, second] : [first, second])
  }
}
