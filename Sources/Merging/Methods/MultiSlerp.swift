public import EspalierBasics
internal import EspalierExecution

/// Weighted mean direction of any number of models (or of their changes to a base), at their weighted mean length.
///
/// ```
/// u_i = v_i / (|v_i| + eps),   m = sum w_i u_i,   out = b + (sum w_i |v_i|) * m / |m|
/// ```
/// mergekit maps the inputs to the tangent space at m/|m|, averages and maps back; that average vanishes identically
/// (`sum w_i (u_i - (u_i·m̂) m̂) = m - (m·m̂) m̂ = 0`), which leaves the formula above. Cost: two passes.
public struct MultiSlerp: MergeMethod {
  public static let card = MethodCard(
    name: "multislerp", summary: "Mean direction and mean length of several models or of their changes to a base.",
    source: "goddard2025multislerp",
    parameters: [
      ParameterCard("weight", .number(.anyNumber), scope: .nonBase, "Weight of the model."),
      ParameterCard("normalize_weights", .flag, default: .flag(true), "Divide the weights by their sum."),
      ParameterCard("eps", .number(0...1), default: .number(1e-8), "Lengths below count as none."),
    ],
    notes:
      "The tangent step of mergekit's formula is zero in exact arithmetic and is left out. Where directions cancel (|m| < eps), as for tensors that no model changed, the weighted sum is taken; mergekit stops there with three or more models."
  )
  public static let inputs = MergeInputRule(base: .optional, count: 1...Int.max)

  private let weights: [Double]
  private let eps: Double
  private let hasBase: Bool

  public init(_ parameters: MergeParameters) throws(Problem) {
    let weights = try parameters.numbers("weight")
    self.weights = try parameters.flag("normalize_weights") ? normalized(weights, name: "weight") : weights
    eps = try parameters.number("eps")
    hasBase = parameters.hasBase
  }

  public var passCount: Int { weights.count == 1 ? 1 : 2 }

  public func residentBytes(shape: [Int], inputs: Int) -> Int { Gram.passBytes(shape: shape, count: inputs) }

  public func merge(_ passes: MergePasses) throws(Problem) {
    let coefficients = weights.count == 1 ? [1] : try self.coefficients(Gram(passes.tensor, hasBase: hasBase))
    try passes.tensor.write { block in
      if hasBase { block.addDeltas(coefficients) } else { block.combine(coefficients) }
    }
  }

  private func coefficients(_ gram: Gram) -> [Double] {
    let directions = weights.indices.map { weights[$0] / (gram.norm($0) + eps) }
    let length = gram.squaredNorm(directions).squareRoot()
    guard length >= eps else { return weights }
    let mean = weights.indices.reduce(0) { $0 + weights[$1] * gram.norm($1) }
    return directions.map { $0 * mean / length }
  }
}
