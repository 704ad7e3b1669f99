internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierLinearMaps

/// An affine map: `y = x Wᵀ + b`. For a gradient: x.
///
/// `y = map(x, @module)`: the module's weight, and its bias where the config has one. Maps of one input that follow each
/// other run as one.
struct MapOperation: Operation {
  static let name = "map"

  private struct Part {
    let weight: MatrixHandle
    let bias: VectorHandle?
  }

  private let parts: [Part]

  var matrices: [MatrixHandle] { parts.map(\.weight) }

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    guard let shape = binding.shape("weight"), let outputs = shape.first else {
      throw binding.problem("needs a weight")
    }
    let inputs = shape.dropFirst().reduce(1, *)
    guard inputs == binding.inputWidths[0] else {
      throw binding.problem("takes rows of \(inputs) and gets rows of \(binding.inputWidths[0])")
    }
    let weight = try binding.matrix(outputs: outputs, inputs: inputs)
    parts = [Part(weight: weight, bias: try binding.optionalVector("bias", count: outputs))]
    binding.outputWidths = [outputs]
  }

  private init(parts: [Part]) { self.parts = parts }

  /// This map and then another of the same input, as one operation with the outputs of both.
  func joined(with other: MapOperation) -> MapOperation { MapOperation(parts: parts + other.parts) }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let outputs = try run.apply(matrices, to: inputs[0])
    for (part, y) in zip(parts, outputs) {
      guard let bias = run.vector(part.bias) else { continue }
      try run.forEachSpan(rows: y.rows, width: y.width) { rows in
        let start = y.floats + rows.lowerBound * y.width
        es_add_to_rows(start, bias, start, Int64(rows.count), Int64(y.width))
      }
    }
    return outputs
  }
}
