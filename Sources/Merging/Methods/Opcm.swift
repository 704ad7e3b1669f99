public import EspalierBasics
internal import EspalierExecution
internal import EspalierNumerics

/// Continual merging: one fine-tune after another joins, each without what it has in common with the merge so far (Tang
/// et al. 2025).
///
/// ```
/// D_t = x_t - b,   M_1 = D_1,   M_(t-1) = U S Vᵀ,   r = number of singular values in the first alpha of their sum
/// P(D) = D - sum over i, j < r of (u_iᵀ D v_j) u_i v_jᵀ - sum over i >= r of (u_iᵀ D v_i) u_i v_iᵀ
/// M_t = M_(t-1) + P(D_t)                                      tensors that are no matrices: P(D) = D
/// out = b + lambda M_T / λ_T,   λ_T = ||M_T|| / mean over t of ||D_t||
/// ```
///
/// The paper's recursion divides by λ_t in every step and multiplies by it in the next; directions do not change by
/// that, so only the last λ matters. P(D_t) is orthogonal to M_(t-1), so that what was merged before stays in the sum,
/// and the result is as far from the base as a fine-tune is on average.
///
/// `[out, in]` matrices and any other shape; inputs as float32, all else in float64, one rounding to the output's type.
/// The order of the models matters. A model that equals the merge so far adds nothing. Where M_T is 0 so is the change.
///
/// Cost, for K = max(out, in), r = min(out, in) and T models: memory of 5 K r + 6 r² float64, whatever T; T - 1
/// singular value decompositions (LAPACK, one thread) and 4 K r² flops each; every model is read once, the base T + 1
/// times. Tensors that are not projected: two passes over all inputs.
public struct Opcm: MergeMethod {
  public static let card = MethodCard(
    name: "opcm", summary: "Merges models one after another, each without what it shares with those before.",
    source: "tang2025opcm",
    parameters: [
      ParameterCard(
        "alpha", .number(0...1), default: .number(0.5),
        "Share of the merged change's singular values, by their sum, whose space is closed to the next model."),
      ParameterCard(
        "project", .flag, default: .flag(true),
        "Whether matrices are projected; false adds them up like other tensors (the authors' choice for embeddings)."),
      DeltaCards.lambda,
    ],
    notes:
      "Models are merged in the order of the recipe. Projection as in the authors' code: the block of the leading singular vectors and the rest of the diagonal; directions whose singular value is 0 in float64 close nothing. The norms of the scaling are a tensor's own; the authors take them over the whole model. Only tensors of two dimensions are projected: give project with a filter to leave embeddings out. LAPACK's bytes may differ between machines. Memory is that of one matrix whatever the number of models (5 out in + 6 min(out, in)² float64); every model is read once."
  )
  public static let inputs = MergeInputRule(base: .required, count: 2...Int.max, missing: .passBase)

  private let alpha: Double
  private let projects: Bool
  private let lambda: Double

  public init(_ parameters: MergeParameters) throws(Problem) {
    alpha = try parameters.number("alpha")
    projects = try parameters.flag("project")
    lambda = try parameters.number("lambda")
  }

  public var passCount: Int { 2 }

  private func projects(_ shape: [Int]) -> Bool { projects && shape.count == 2 && !shape.contains(0) }

  public func residentBytes(shape: [Int], inputs: Int) -> Int {
    guard projects(shape) else { return Gram.passBytes(shape: shape, count: inputs - 1) }
    let rank = min(shape[0], shape[1])
    return 8 * (5 * shape[0] * shape[1] + 6 * rank * rank) + Gram.passBytes(shape: shape, count: 1)
  }

  public func merge(_ passes: MergePasses) throws(Problem) {
    if projects(passes.tensor.shape), passes.tensor.inputCount > 2 {
      try mergeProjected(passes.tensor)
    } else {
      try addUp(passes.tensor)
    }
  }

  /// lambda / λ_T.
  private func scale(mergedNorm: Double, norms: [Double]) -> Double {
    mergedNorm > 0 ? lambda * norms.reduce(0, +) / Double(norms.count) / mergedNorm : 0
  }

  // MARK: - Without projection

  private func addUp(_ tensor: TensorPasses) throws(Problem) {
    let models = tensor.inputCount - 1
    guard models > 1 else {
      // λ_1 is 1: the model itself.
      try tensor.write { $0.addDeltas([lambda]) }
      return
    }
    let gram = try Gram(tensor, hasBase: true)
    let norms = (0..<models).map { gram.norm($0) }
    let merged = gram.squaredNorm([Double](repeating: 1, count: models)).squareRoot()
    let scale = scale(mergedNorm: merged, norms: norms)
    try tensor.write { $0.addDeltas([Double](repeating: scale, count: models)) }
  }

  // MARK: - With projection

  private func mergeProjected(_ tensor: TensorPasses) throws(Problem) {
    var (merged, norm) = try change(of: 1, tensor)
    var norms = [norm]
    for model in 2..<tensor.inputCount {
      let space = try MergedSpace(of: merged, alpha: alpha)
      let (change, norm) = try change(of: model, tensor)
      norms.append(norm)
      try space.add(change, to: &merged)
    }
    let scale = scale(mergedNorm: merged.elements.reduce(0) { $0 + $1 * $1 }.squareRoot(), norms: norms)
    let values = merged.elements
    try tensor.write(inputs: [0]) { block in
      let base = block.inputs[0]
      for index in 0..<block.count {
        block.output[index] = Float(Double(base[index]) + scale * values[block.start + index])
      }
    }
  }

  /// D of a model, and its norm.
  private func change(of model: Int, _ tensor: TensorPasses) throws(Problem) -> (Matrix<Double>, norm: Double) {
    var elements = [Double](repeating: 0, count: tensor.elementCount)
    let square = try elements.withUnsafeMutableBufferPointer { (target) throws(Problem) in
      try tensor.sums(1, inputs: [0, model]) { block, sums in
        let (base, other) = (block.inputs[0], block.inputs[model])
        for index in 0..<block.count {
          let difference = Double(other[index]) - Double(base[index])
          target[block.start + index] = difference
          sums[0] += difference * difference
        }
      }[0]
    }
    let matrix = try Matrix(rows: tensor.shape[0], columns: tensor.shape[1], elements: elements)
    return (matrix, square.squareRoot())
  }
}

/// The singular vectors of what is merged, and which of their pairs are closed to the next change.
private struct MergedSpace {
  private let vectors: SingularValueDecomposition
  /// Directions that are there at all.
  private let rank: Int
  /// Leading directions, closed in every combination; of the others only each with its own.
  private let closed: Int

  init(of merged: Matrix<Double>, alpha: Double) throws(Problem) {
    vectors = try LinearAlgebra.svd(merged)
    rank = LinearAlgebra.numericalRank(
      of: vectors.values, relativeTolerance: Double(max(merged.rows, merged.columns)) * Double.ulpOfOne)
    let limit = alpha * vectors.values.reduce(0, +)
    var sum = 0.0
    let crossing = vectors.values.firstIndex {
      sum += $0
      return sum > limit
    }
    closed = alpha >= 1 ? rank : min(rank, crossing ?? rank)
  }

  /// `merged += P(change)`.
  func add(_ change: Matrix<Double>, to merged: inout Matrix<Double>) throws(Problem) {
    let columns = change.columns
    // Row i becomes the combination of rows of Vᵀ that u_i is to lose; in place, since these matrices are large.
    var lost = try MatrixProduct.product(vectors.u, change, transposingFirst: true)
    try vectors.vTransposed.elements.withUnsafeBufferPointer { (right) throws(Problem) in
      try lost.elements.withUnsafeMutableBufferPointer { (lost) throws(Problem) in
        try close(lost, right, columns: columns)
      }
    }
    let removed = try MatrixProduct.product(vectors.u, lost)
    for index in merged.elements.indices {
      merged.elements[index] += change.elements[index] - removed.elements[index]
    }
  }

  /// From the rows of Uᵀ D those of what is lost: `(u_iᵀ D V_rᵀ) V_r` for the closed directions, `(u_iᵀ D v_i) v_iᵀ` for
  /// the others, 0 where there is no direction.
  private func close(
    _ rows: UnsafeMutableBufferPointer<Double>, _ right: UnsafeBufferPointer<Double>, columns: Int
  ) throws(Problem) {
    if closed > 0 {
      let leading = UnsafeMutableBufferPointer(rebasing: rows[..<(closed * columns)])
      let basis = try MatrixView(
        UnsafeBufferPointer(rebasing: right[..<(closed * columns)]), rows: closed, columns: columns)
      var shares = [Double](repeating: 0, count: closed * closed)
      try shares.withUnsafeMutableBufferPointer { (shares) throws(Problem) in
        try MatrixProduct.multiply(
          try MatrixView(UnsafeBufferPointer(leading), rows: closed, columns: columns), basis.transposed,
          into: try MutableMatrixView(shares, rows: closed, columns: closed))
        try MatrixProduct.multiply(
          try MatrixView(UnsafeBufferPointer(shares), rows: closed, columns: closed), basis,
          into: try MutableMatrixView(leading, rows: closed, columns: columns))
      }
    }
    for row in closed..<(rows.count / columns) {
      let range = row * columns..<(row + 1) * columns
      let share = row < rank ? range.reduce(0) { $0 + rows[$1] * right[$1] } : 0
      for index in range { rows[index] = share * right[index] }
    }
  }
}
