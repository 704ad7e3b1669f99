internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierLinearMaps

/// An affine map: `y = x Wᵀ + b`. For a gradient: x.
///
/// `y = map(x, @module)`: the module's weight, and its bias where the config has one.
struct MapOperation: Operation {
  static let name = "map"
  private let weight: MatrixHandle
  private let bias: VectorHandle?

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    guard let shape = binding.shape("weight"), let outputs = shape.first else {
      throw binding.problem("needs a weight")
    }
    let inputs = shape.dropFirst().reduce(1, *)
    guard inputs == binding.inputWidths[0] else {
      throw binding.problem("takes rows of \(inputs) and gets rows of \(binding.inputWidths[0])")
    }
    weight = try binding.matrix()
    bias = try binding.optionalVector("bias", count: outputs)
    binding.outputWidths = [outputs]
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let y = try run.apply(run.matrix(weight), to: inputs[0])
    if let bias = run.vector(bias) {
      try run.forEachSpan(rows: y.rows, width: y.width) { rows in
        let start = y.floats + rows.lowerBound * y.width
        es_add_to_rows(start, bias, start, Int64(rows.count), Int64(y.width))
      }
    }
    return [y]
  }
}
