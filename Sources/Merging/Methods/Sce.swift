internal import CKernels
public import EspalierBasics
internal import EspalierExecution
internal import EspalierNumerics

/// Selects the elements in which models differ most, weighs models by the size of their changes, erases minority signs
/// (Wan et al. 2024).
///
/// ```
/// v = variance over models of d_i,   keep the int(select_topk nonzero(v)) elements of largest v
/// q_i = mean(d_i^2) / sum_j mean(d_j^2),   s = sign(sum_i d_i)
/// out = b + sum_i [sign(d_i) = s] q_i d_i / sum_i [sign(d_i) = s] q_i
/// ```
public struct Sce: MergeMethod {
  public static let card = MethodCard(
    name: "sce", summary: "Selects where models differ, weighs by size of change, erases minority signs.",
    source: "wan2024sce",
    parameters: [
      ParameterCard(
        "select_topk", .number(0...1), default: .number(1), "Share of the differing elements that is kept."),
      DeltaCards.int8Mask,
    ],
    notes:
      "As in mergekit, models weigh the same where the mean squares sum to less than 1e-6 (the usual case for small changes), and denominators are at least 1e-6."
  )
  public static let inputs = MergeInputRule(base: .required, count: 1...Int.max)

  private let share: Double

  public init(_ parameters: MergeParameters) throws(Problem) { share = try parameters.number("select_topk") }

  private var selects: Bool { share < 1 }
  public var passCount: Int { selects ? 4 : 2 }
  public var scratchCount: Int { selects ? 1 : 0 }

  public func residentBytes(shape: [Int], inputs: Int) -> Int {
    let count = shape.reduce(1, *)
    let sums = 16 * inputs * (count / CanonicalSum.blockLength + 1)
    return selects ? max(sums, RankSelector.memoryBound(count: count, requests: 1)) : sums
  }

  public func merge(_ passes: MergePasses) throws(Problem) {
    let tensor = passes.tensor
    let models = tensor.inputCount - 1
    // Sums of squares of the changes and, where elements are selected, the number of elements that differ.
    let sums = try tensor.sums(models + (selects ? 1 : 0)) { block, sums in
      block.subtractBase()
      squares(block, into: sums)
      guard selects else { return }
      variance(block)
      sums[models] = Double(es_count_nonzero(block.scratch[0], Int64(block.count)))
    }
    let cut = selects ? try selection(tensor, kept: Int(share * sums[models])) : nil
    var weights = weights(Array(sums.prefix(models)), elements: tensor.elementCount)
    // What is selected has no larger squares than the whole: if those are too small to tell models apart, so are these.
    if let cut, weights != nil {
      let selected = try tensor.sums(models) { block, sums in
        prepare(block, cut)
        squares(block, into: sums)
      }
      weights = self.weights(selected, elements: tensor.elementCount)
    }
    let shares = weights ?? [Float](repeating: 1 / Float(max(1, models)), count: models)
    try tensor.write { block in
      prepare(block, cut)
      block.withReadableInputs(from: 1) {
        es_elect_sign_and_average(block.inputs[0], $0, shares, Int64(models), block.output, Int64(block.count))
      }
    }
  }

  private func selection(_ tensor: TensorPasses, kept: Int) throws(Problem) -> RankCut? {
    try RankScan.cuts([RankRequest(count: kept)], of: tensor) { block, give in
      block.subtractBase()
      variance(block)
      give(0, block.scratch[0])
    }.first
  }

  private func squares(_ block: Block, into sums: UnsafeMutablePointer<Double>) {
    for model in 1..<block.inputs.count { sums[model - 1] = es_square_sum(block.inputs[model], Int64(block.count)) }
  }

  private func variance(_ block: Block) {
    block.withReadableInputs(from: 1) {
      es_variance($0, Int64(block.inputs.count - 1), block.scratch[0], Int64(block.count))
    }
  }

  /// Leaves the selected changes in the block.
  private func prepare(_ block: Block, _ cut: RankCut?) {
    block.subtractBase()
    guard let cut else { return }
    variance(block)
    cut.apply(to: block.scratch[0], count: block.count, block: block.index)
    for input in block.inputs.dropFirst() { es_zero_where(input, block.scratch[0], Int64(block.count)) }
  }

  /// q_i of the formula, nil where the mean squares are too small to tell models apart.
  private func weights(_ squares: [Double], elements: Int) -> [Float]? {
    let sum = squares.reduce(0, +)
    guard sum / Double(max(1, elements)) >= 1e-6 else { return nil }
    return squares.map { Float($0 / sum) }
  }
}
