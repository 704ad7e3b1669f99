internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics

/// Rows over their root mean square: `y = x / sqrt(mean(x²) + epsilon) * w`. For a gradient: x and the root.
///
/// `y = rmsNorm(x, @norm, epsilon: e)`. A weight shorter than the row normalizes the row in pieces of its length, one
/// for each head.
struct RMSNormOperation: Operation {
  static let name = "rmsNorm"
  private let weight: VectorHandle
  private let epsilon: Float
  private let pieces: Int

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    let width = binding.inputWidths[0]
    let length = binding.shape("weight")?.reduce(1, *) ?? 0
    guard length > 0, width % length == 0 else {
      throw binding.problem("cannot cut rows of \(width) into pieces of \(length)")
    }
    pieces = width / length
    weight = try binding.vector(count: length)
    epsilon = Float(try binding.statement.number("epsilon"))
    binding.outputWidths = [width]
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let x = inputs[0]
    let y = try run.inPlace(inputs)
    let weight = run.vector(weight)
    try run.forEachSpan(rows: x.rows, width: x.width) { rows in
      let start = rows.lowerBound * x.width
      es_rms_norm(
        x.floats + start, weight, epsilon, y.floats + start, Int64(rows.count * pieces), Int64(x.width / pieces))
    }
    return [y]
  }
}
