internal import CKernels
public import EspalierBasics
internal import EspalierExecution

/// Takes the other model's values where they are close to the base's, and ever less of them the farther they are.
///
/// ```
/// w = clamp( t / max(|b - x|, 1e-6), 0, 1 ),   out = w x + (1-w) b
/// ```
public struct NearSwap: MergeMethod {
  public static let card = MethodCard(
    name: "nearswap", summary: "Swaps in values of the other model that are near the base's.", source: "mergekit",
    parameters: [
      ParameterCard(
        "t", .number(0...Double.greatestFiniteMagnitude), "Distance up to which values are taken whole.")
    ])
  public static let inputs = MergeInputRule(base: .required, count: 2...2, missing: .passBase)

  private let t: Float

  public init(_ parameters: MergeParameters) throws(Problem) { t = Float(try parameters.number("t")) }

  public func merge(_ passes: MergePasses) throws(Problem) {
    try passes.tensor.write { block in
      es_near_swap(block.inputs[0], block.inputs[1], t, block.output, Int64(block.count))
    }
  }
}
