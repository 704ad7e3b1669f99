internal import CKernels
public import EspalierBasics
internal import EspalierExecution

/// One input, unchanged or scaled: what slices of layers are stacked with.
///
/// ```
/// out = scale * x
/// ```
public struct Passthrough: MergeMethod {
  public static let card = MethodCard(
    name: "passthrough", summary: "Carries one model's tensor, scaled if asked for.", source: "mergekit",
    parameters: [
      ParameterCard("scale", .number(.anyNumber), scope: .input, isOptional: true, "Factor for the tensor.")
    ],
    notes: "Without a scale and a change of type, bytes are copied as they are.")
  public static let inputs = MergeInputRule(base: .ordinary, count: 1...1)

  private let scale: Double

  public init(_ parameters: MergeParameters) throws(Problem) {
    if case .number(let value)? = parameters.inputs.first?["scale"] { scale = value } else { scale = 1 }
  }

  public func merge(_ passes: MergePasses) throws(Problem) {
    try passes.tensor.write { block in
      block.withReadableInputs { inputs in
        es_weighted_sum(inputs, [scale], 1, block.output, Int64(block.count))
      }
    }
  }
}
