internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics

/// Rows without their mean, over their standard deviation: `y = (x - mean) / sqrt(variance + epsilon) * w + b`. For a
/// gradient: x, mean and deviation.
///
/// `y = layerNorm(x, @norm, epsilon: e)`.
struct LayerNormOperation: Operation {
  static let name = "layerNorm"
  private let weight: VectorHandle
  private let bias: VectorHandle?
  private let epsilon: Float

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    let width = binding.inputWidths[0]
    weight = try binding.vector(count: width)
    bias = try binding.optionalVector("bias", count: width)
    epsilon = Float(try binding.statement.number("epsilon"))
    binding.outputWidths = [width]
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let x = inputs[0]
    let y = try run.inPlace(inputs)
    let (weight, bias) = (run.vector(weight), run.vector(bias))
    try run.forEachSpan(rows: x.rows, width: x.width) { rows in
      let start = rows.lowerBound * x.width
      es_layer_norm(x.floats + start, weight, bias, epsilon, y.floats + start, Int64(rows.count), Int64(x.width))
    }
    return [y]
  }
}
