public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierLinearMaps
public import EspalierNumerics

/// A feed-forward block split in two that add up (FFSplit, Liu et al. 2024): the neurons that fire most, the heavy
/// hitters, stay as they are; the matrices of the others are made smaller.
public struct FeedForwardSplit: Sendable {
  /// Ascending.
  public var heavy: [Int]
  /// The other neurons, ascending.
  public var light: [Int]
  public var heavyBlock: FeedForwardBlock
  /// Of the light neurons; nil without a gate or without light neurons.
  public var lightGate: ReducedMatrix?
  /// Nil where all neurons are heavy.
  public var lightUp: ReducedMatrix?
  public var lightDown: ReducedMatrix?

  /// How much a neuron weighs.
  public enum Score: Sendable {
    /// The norm of what it puts out on the calibration data: the source's.
    case activation
    /// That norm times the norm of its column of `down`: what reaches the output.
    case contribution
  }

  /// - Parameters:
  ///   - inputs: of the block; what `method` needs of the inputs of gate and up.
  ///   - neurons: of what enters `down`; its full moment, where there is one, is cut to the light neurons.
  ///   - heavy: how many neurons stay whole, 0 ... all.
  ///   - method: what makes the light part smaller.
  ///   - budget: of each of its matrices.
  /// - Throws: `reduction` for a count out of range; `matrix.shape`; what the method throws.
  public init(
    _ block: FeedForwardBlock, inputs: SiteStatistics?, neurons: SiteStatistics, heavy count: Int,
    score: Score = .activation, method: any ReductionMethod, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    try block.check(inputs: inputs, neurons: neurons, method: "ffsplit")
    guard (0...block.neurons).contains(count) else {
      throw Problem(.reduction, "ffsplit: \(count) heavy neurons of \(block.neurons)")
    }
    var scores = neurons.rootMeanSquares
    if score == .contribution {
      for i in scores.indices {
        scores[i] *= (0..<block.down.rows).reduce(0.0) {
          $0 + Double(block.down[$1, i]) * Double(block.down[$1, i])
        }.squareRoot()
      }
    }
    if let bad = scores.firstIndex(where: { !$0.isFinite }) {
      throw Problem(.nonFiniteMatrix, "ffsplit: the score of neuron \(bad) is \(scores[bad])")
    }
    let order = Ranking.descending(scores)
    heavy = order.prefix(count).sorted()
    light = order.dropFirst(count).sorted()
    heavyBlock = block.selecting(heavy)
    guard !light.isEmpty else { return }
    let rest = block.selecting(light)
    if let gate = rest.gate { lightGate = try method.reduce(gate, inputs, to: budget, parallel: parallel) }
    lightUp = try method.reduce(rest.up, inputs, to: budget, parallel: parallel)
    lightDown = try method.reduce(rest.down, neurons.selecting(columns: light), to: budget, parallel: parallel)
  }

  /// Of the factors of the light neurons; nil where there are none.
  func rank(of part: BlockMatrix.Part) -> Int? {
    light(part).flatMap { $0.form.factors.first?.columns }
  }

  private func light(_ part: BlockMatrix.Part) -> ReducedMatrix? {
    switch part {
    case .gate: lightGate
    case .up: lightUp
    case .down: lightDown
    case .other: nil
    }
  }

  /// A matrix with each neuron in its place, heavy ones to the bit as they were: split where there are factors, and
  /// otherwise written out; nil for a gate that is not there.
  ///
  /// - Throws: what the product throws.
  func form(
    of part: BlockMatrix.Part, parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix.Form? {
    guard let whole = heavyBlock[part] else { return nil }
    guard let rest = light(part)?.form else { return .dense(whole) }
    if heavy.isEmpty { return rest }
    // Neurons are the rows of gate and up, and the columns of down.
    let axis: SplitMap.Axis = part == .down ? .columns : .rows
    if case .factors(let left, let right) = rest {
      return .split(try SplitFactors(axis, places: heavy, whole: whole, left: left, right: right))
    }
    return .dense(
      try SplitFactors.joined(axis, places: heavy, whole: whole, others: rest.materialized(parallel: parallel)))
  }

  /// Numbers of both parts.
  public var storedNumbers: Int {
    let whole = (heavyBlock.gate?.elements.count ?? 0) + heavyBlock.up.elements.count + heavyBlock.down.elements.count
    return [lightGate, lightUp, lightDown].reduce(whole) { $0 + ($1?.storedNumbers ?? 0) }
  }
}
