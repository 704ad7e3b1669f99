internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierNumerics

/// Learnt biases of attention by the distance of key and query (Raffel et al. 2020, section 2.1), one row a head:
/// entry `reach + d` is the bias where the key stands d after the query, d between -reach and reach. For a gradient:
/// nothing.
///
/// `b = relativeBias(@table, maxDistance: m, causal: false)`, the table `[buckets, heads]`. Half of the buckets are for
/// single distances, the others for ranges that grow by a constant factor up to m; where attention is not causal, half of
/// all buckets are for keys after the query.
struct RelativeBiasOperation: Operation {
  static let name = "relativeBias"
  private let table: VectorHandle
  private let heads: Int
  /// The bucket of each distance from -reach to reach.
  private let buckets: [Int]

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 0)
    guard let shape = binding.shape("weight"), shape.count == 2 else { throw binding.problem("needs a table") }
    heads = shape[1]
    let reach = try binding.statement.integer("maxDistance")
    let isCausal = try binding.statement.truth("causal")
    let count = isCausal ? shape[0] : shape[0] / 2
    // Some distance must have a bucket of its own, and ranges a factor to grow by.
    guard count >= 2, reach > count / 2, reach <= 1 << 20 else {
      throw binding.problem("cannot spread \(shape[0]) buckets over distances up to \(reach)")
    }
    buckets = (-reach...reach).map { distance in
      let away = isCausal ? max(0, -distance) : abs(distance)
      let bucket = RelativeBiasOperation.bucket(away, of: count, reach: reach)
      return !isCausal && distance > 0 ? count + bucket : bucket
    }
    table = try binding.vector(count: shape[0] * heads)
    binding.outputWidths = [buckets.count]
    binding.outputRows = .heads(heads)
  }

  /// In float32, as models were trained: borders of ranges fall where rounding puts them.
  static func bucket(_ distance: Int, of count: Int, reach: Int) -> Int {
    let exact = count / 2
    if distance < exact { return distance }
    let logarithm = Float(Elementary.log(Double(Float(distance) / Float(exact))))
    let whole = Float(Elementary.log(Double(reach) / Double(exact)))
    return min(count - 1, exact + Int(logarithm / whole * Float(count - exact)))
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let y = try run.activation(width: buckets.count, segments: Segments(lengths: [heads]))
    let table = run.vector(table)
    for head in 0..<heads {
      for (index, bucket) in buckets.enumerated() { y.floats[head * y.width + index] = table[bucket * heads + head] }
    }
    return [y]
  }
}
