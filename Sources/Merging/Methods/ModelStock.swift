internal import CKernels
public import EspalierBasics
public import EspalierExecution

/// Moves the average of fine-tunes back toward their base by what the angle between them says (Jang et al. 2024, eq. 5).
///
/// ```
/// c = mean over pairs of cos(x_i - b, x_j - b),   t = N c / (1 + (N-1) c),   out = t mean(x) + (1-t) b
/// ```
public struct ModelStock: MergeMethod {
  public static let card = MethodCard(
    name: "model_stock", summary: "The average of fine-tunes, moved toward the base by the angle between them.",
    source: "jang2024modelstock",
    parameters: [
      ParameterCard("filter_wise", .flag, default: .flag(false), "An angle for every row instead of every tensor.")
    ],
    notes:
      "The paper treats two models, and N with all angles equal; for differing angles their mean cosine is taken, as in mergekit. A negative mean cosine moves away from the average, also as in mergekit. 0 where the denominator is below 1e-6."
  )
  public static let inputs = MergeInputRule(base: .required, count: 3...Int.max, missing: .passBaseOrSkip)

  private let isFilterWise: Bool

  public init(_ parameters: MergeParameters) throws(Problem) { isFilterWise = try parameters.flag("filter_wise") }

  public var passCount: Int { isFilterWise ? 1 : 2 }

  public func layouts(shape: [Int]) -> [Tiling.Blocks] { [layout(shape)] }

  public func residentBytes(shape: [Int], inputs: Int) -> Int {
    isFilterWise ? 0 : Gram.passBytes(shape: shape, count: inputs)
  }

  private func layout(_ shape: [Int]) -> Tiling.Blocks {
    isFilterWise ? .rows(length: shape.last ?? 1) : .flat
  }

  public func merge(_ passes: MergePasses) throws(Problem) {
    guard isFilterWise else {
      let share = Self.share(try Gram(passes.tensor, hasBase: true))
      try passes.tensor.write { block in
        let models = block.inputs.count - 1
        block.addDeltas([Double](repeating: share / Double(models), count: models))
      }
      return
    }
    try passes.tensor.write(layout(passes.tensor.shape)) { block in
      block.subtractBase()
      let models = block.inputs.count - 1
      let products = models * (models + 1) / 2
      let share = withUnsafeTemporaryAllocation(of: Double.self, capacity: products) { sums in
        sums.initialize(repeating: 0)
        Gram.upperTriangle(block, first: 1, into: sums.baseAddress!)
        return Self.share(Gram(count: models, upperTriangle: Array(sums)))
      }
      block.combine([1] + [Double](repeating: share / Double(models), count: models))
    }
  }

  /// t of the formula, from the inner products of the changes.
  static func share(_ gram: Gram) -> Double {
    let count = gram.count
    var cosines = 0.0
    for i in 0..<count {
      for j in (i + 1)..<max(count, i + 1) {
        cosines += min(1, max(-1, gram[i, j] / max(gram.norm(i) * gram.norm(j), 1e-6)))
      }
    }
    let mean = cosines / Double(count * (count - 1) / 2)
    let denominator = 1 + Double(count - 1) * mean
    return abs(denominator) < 1e-6 ? 0 : Double(count) * mean / denominator
  }
}
