internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics

/// Rows over their root mean square: `y = x / sqrt(mean(x²) + epsilon) * w`. For a gradient: x and the root.
///
/// `y = rmsNorm(x, @norm, epsilon: e)`. A weight shorter than the row normalizes the row in pieces of its length, one
/// for each head; `groups: g` normalizes the row in g pieces under one weight of the row's length.
struct RMSNormOperation: Operation {
  static let name = "rmsNorm"
  private let weight: VectorHandle
  private let epsilon: Float
  private let pieces: Int
  /// Whether each piece has its own part of the weight.
  private let isGrouped: Bool

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    let width = binding.inputWidths[0]
    let length = binding.shape("weight")?.reduce(1, *) ?? 0
    guard length > 0, width % length == 0 else {
      throw binding.problem("cannot cut rows of \(width) into pieces of \(length)")
    }
    let groups = binding.statement.has("groups") ? try binding.statement.integer("groups") : 1
    guard groups == 1 || (groups > 0 && length == width && width % groups == 0) else {
      throw binding.problem("cannot cut rows of \(width) into \(groups) groups")
    }
    isGrouped = groups > 1
    pieces = isGrouped ? groups : width / length
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
      guard isGrouped else {
        return es_rms_norm(
          x.floats + start, weight, epsilon, y.floats + start, Int64(rows.count * pieces), Int64(x.width / pieces))
      }
      let length = x.width / pieces
      for piece in 0..<rows.count * pieces {
        let place = start + piece * length
        es_rms_norm(
          x.floats + place, weight + piece % pieces * length, epsilon, y.floats + place, 1, Int64(length))
      }
    }
    return [y]
  }
}
