internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierNumerics

/// Channels by the mean and variance that training saw (Ioffe and Szegedy 2015):
/// `y = (x - mean) / sqrt(variance + epsilon) * w + b`. For a gradient: nothing, the statistics are constants.
///
/// `y = batchNorm(x, @norm, mean: @norm.running_mean, variance: @norm.running_var, epsilon: e)`.
struct BatchNormOperation: Operation {
  static let name = "batchNorm"
  private let weight: VectorHandle
  private let bias: VectorHandle
  private let mean: VectorHandle
  private let variance: VectorHandle
  private let epsilon: Double

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    let width = binding.inputWidths[0]
    weight = try binding.vector(count: width)
    bias = try binding.vector("bias", count: width)
    mean = try binding.vector("mean", count: width)
    variance = try binding.vector("variance", count: width)
    epsilon = try binding.statement.number("epsilon")
    binding.outputWidths = [width]
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let x = inputs[0]
    let y = try run.inPlace(inputs)
    let (weight, bias, mean, variance) = (run.vector(weight), run.vector(bias), run.vector(mean), run.vector(variance))
    let factors = try run.workspace.take(x.width)
    for channel in 0..<x.width {
      factors.floats[channel] = Float(Double(weight[channel]) / (Double(variance[channel]) + epsilon).squareRoot())
    }
    try run.forEachSpan(rows: x.rows, width: x.width) { rows in
      let start = rows.lowerBound * x.width
      es_normalize_columns(
        x.floats + start, mean, factors.floats.baseAddress!, bias, y.floats + start, Int64(rows.count), Int64(x.width))
    }
    run.workspace.giveBack(factors)
    return [y]
  }
}
