internal import CKernels
public import EspalierBasics
internal import EspalierExecution
internal import EspalierNumerics

/// Balances the competition of parameters: an element of a change counts by its importance within its own model and by
/// its agreement with the others; low scores drop out (Du et al. 2024).
///
/// ```
/// t_i = sign(d_i) clamp(|d_i|, q, 1 - q)                   q: quantiles 0.0001 and 0.9999 of |d_i|
/// c_i = exp(N norm(|t_i|)^2) tanh(d_i sum_j d_j)           norm: onto [0, 1] over the tensor
/// s_i = norm(max(c_i, the 1 - density quantile of c_i))    0 for what is dropped
/// out = b + lambda (sum_i w_i s_i t_i) / sum_i s_i
/// ```
///
/// Any shape; inputs as float32, arithmetic in float64, one rounding to the output's type. Scores are ranked as
/// float32. Where no model keeps an element the base stays. Elements that only one model keeps are its own, undiluted.
///
/// Cost: three passes over the inputs (quantiles of magnitude, quantiles of score, output), and per model and element
/// two exponentials in each of the last two; memory of two rank searches a model.
public struct Pcb: MergeMethod {
  public static let card = MethodCard(
    name: "pcb", summary: "Weighs every element by its importance in its model and its agreement with the others.",
    source: "du2024pcb",
    parameters: [
      ParameterCard(
        "weight", .number(.anyNumber), scope: .nonBase, default: .number(1), "Factor of the model's change."),
      ParameterCard(
        "density", .number(0...1), scope: .nonBase, default: .number(0.1),
        "Share of elements, by score, that is kept (r in the paper)."),
      DeltaCards.lambda,
    ],
    notes:
      "As in the authors' code: the softmax of the paper's intra-balancing is the exponential alone (its divisor cancels in the normalization), inter-balancing is tanh of the product with the sum of all changes, and magnitudes are clamped to their quantiles 0.0001 and 0.9999. The authors normalize over the whole model, here every tensor is normalized for itself, with as many clamped at the top as at the bottom, so that tensors below 10,000 elements are not clamped. Where all scores that count are equal, they count alike if positive, else not at all. Of equal scores at the quantile none is kept. Inputs are read three times."
  )
  public static let inputs = MergeInputRule(base: .required, count: 2...Int.max, missing: .passBase)

  private let weights: [Double]
  private let densities: [Double]
  private let lambda: Double

  public init(_ parameters: MergeParameters) throws(Problem) {
    weights = try parameters.numbers("weight")
    densities = try parameters.numbers("density")
    lambda = try parameters.number("lambda")
  }

  public var passCount: Int { 3 }
  public var scratchCount: Int { 1 }

  public func residentBytes(shape: [Int], inputs: Int) -> Int {
    RankSelector.memoryBound(count: shape.reduce(1, *), requests: 2 * weights.count)
  }

  public func merge(_ passes: MergePasses) throws(Problem) {
    let tensor = passes.tensor
    // One element has no quantiles: it counts if the models agree on its sign.
    var models = weights.map { es_balance(low: 0, high: .infinity, threshold: 0, scale: 0, weight: Float($0)) }
    if tensor.elementCount > 1 {
      try findMagnitudes(&models, tensor)
      try findThresholds(&models, tensor)
    }
    for (index, density) in densities.enumerated() where density <= 0 { models[index].threshold = .infinity }
    try tensor.write { block in
      block.subtractBase()
      block.withReadableInputs(from: 1) {
        es_balance_combine(
          block.inputs[0], $0, models, Int64(models.count), lambda, block.output, Int64(block.count))
      }
    }
  }

  /// The range to which magnitudes are clamped, and over which they are normalized.
  private func findMagnitudes(_ models: inout [es_balance], _ tensor: TensorPasses) throws(Problem) {
    let clamped = Int(0.0001 * Double(tensor.elementCount)) + 1
    let requests = models.indices.flatMap { model in
      [
        RankRequest(channel: model, count: clamped, order: .smallestMagnitude),
        RankRequest(channel: model, count: clamped, order: .largestMagnitude),
      ]
    }
    let cuts = try RankScan.cuts(requests, of: tensor) { block, give in
      block.subtractBase()
      for model in models.indices { give(model, block.inputs[model + 1]) }
    }
    for model in models.indices {
      models[model].low = cuts[2 * model].value
      models[model].high = cuts[2 * model + 1].value
    }
  }

  /// The score up to which elements drop out, and the scale of what is above it.
  private func findThresholds(_ models: inout [es_balance], _ tensor: TensorPasses) throws(Problem) {
    let count = tensor.elementCount
    let requests = densities.indices.flatMap { model in
      // The element of ascending rank int(count (1 - density)), from 0; the largest is found from above.
      let rank = min(count - 1, Int(Double(count) * (1 - densities[model])))
      let largest = RankRequest(channel: model, count: 1, order: .largestValue)
      let threshold = RankRequest(channel: model, count: rank + 1, order: .smallestValue)
      return [rank == count - 1 ? largest : threshold, largest]
    }
    let found = models
    let cuts = try RankScan.cuts(requests, of: tensor) { block, give in
      block.subtractBase()
      for model in found.indices {
        block.withReadableInputs(from: 1) {
          es_balance_scores(
            $0, Int64(found.count), Int64(model), found[model], block.scratch[0], Int64(block.count))
        }
        give(model, block.scratch[0])
      }
    }
    for model in models.indices {
      let (threshold, largest) = (cuts[2 * model].value, cuts[2 * model + 1].value)
      if largest > threshold {
        models[model].threshold = threshold
        models[model].scale = 1 / (largest - threshold)
      } else {
        models[model].threshold = threshold > 0 ? threshold.nextDown : .infinity
        models[model].scale = 0
      }
    }
  }
}
