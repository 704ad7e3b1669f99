internal import CKernels
public import EspalierBasics
internal import EspalierExecution

/// Weighted average of the inputs.
///
/// ```
/// out = sum_i w_i x_i / sum_i w_i        (without the division if normalize is false)
/// ```
/// Products and sums in float64, one rounding: equal inputs come out unchanged. Cost: every input read once.
public struct Linear: MergeMethod {
  public static let card = MethodCard(
    name: "linear", summary: "Weighted average of the models.", source: "wortsman2022soups",
    parameters: [
      ParameterCard("weight", .number(.anyNumber), scope: .input, "Weight of the model."),
      ParameterCard(
        "normalize", .flag, default: .flag(true), "Divide by the sum of the weights, which must not be 0."),
    ])
  public static let inputs = MergeInputRule(base: .ordinary, count: 1...Int.max)

  private let weights: [Double]

  public init(_ parameters: MergeParameters) throws(Problem) {
    let weights = try parameters.numbers("weight", withBase: true)
    guard try parameters.flag("normalize") else {
      self.weights = weights
      return
    }
    self.weights = try normalized(weights, name: "weight")
  }

  public func merge(_ passes: MergePasses) throws(Problem) {
    try passes.tensor.write { block in
      block.withReadableInputs { inputs in
        es_weighted_sum(inputs, weights, Int64(weights.count), block.output, Int64(block.count))
      }
    }
  }
}

/// Weights divided by their sum.
///
/// - Throws: ``Problem/Code/parameterRange`` if they sum to nothing.
func normalized(_ weights: [Double], name: String) throws(Problem) -> [Double] {
  let sum = try requiredSum(of: weights, name: name)
  return weights.map { $0 / sum }
}

/// The sum of weights, to divide by.
///
/// - Throws: ``Problem/Code/parameterRange`` if they sum to nothing.
func requiredSum(of weights: [Double], name: String) throws(Problem) -> Double {
  let sum = weights.reduce(0, +)
  guard abs(sum) > 1e-12 else {
    throw Problem(
      .parameterRange, "the values of \(name) sum to \(sum) and cannot be normalized",
      remedy: "Change a weight, or turn the normalization off.")
  }
  return sum
}
