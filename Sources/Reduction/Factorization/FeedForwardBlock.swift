public import EspalierBasics
internal import EspalierCheckpoints
public import EspalierNumerics

/// The weights of a feed-forward sub-layer: `y = down f(gate x, up x)`, where f acts on each neuron alone.
public struct FeedForwardBlock: Sendable {
  /// `[neurons, inputs]`; nil in a block without a gate.
  public var gate: Matrix<Float>?
  /// `[neurons, inputs]`.
  public var up: Matrix<Float>
  /// `[outputs, neurons]`.
  public var down: Matrix<Float>

  /// - Throws: `matrix.shape` if the parts do not share their neurons and inputs.
  public init(gate: Matrix<Float>?, up: Matrix<Float>, down: Matrix<Float>) throws(Problem) {
    guard down.columns == up.rows, gate.map({ $0.rows == up.rows && $0.columns == up.columns }) ?? true else {
      let first = gate.map { "gate \($0.rows) x \($0.columns), " } ?? ""
      throw Problem(
        .matrixShape, "\(first)up \(up.rows) x \(up.columns) and down \(down.rows) x \(down.columns) make no block")
    }
    self.gate = gate
    self.up = up
    self.down = down
  }

  public var neurons: Int { up.rows }

  /// The block of these neurons alone, in this order; each must be one of its neurons.
  public func selecting(_ neurons: [Int]) -> FeedForwardBlock {
    var result = self
    result.gate = gate?.selecting(rows: neurons)
    result.up = up.selecting(rows: neurons)
    result.down = down.selecting(columns: neurons)
    return result
  }

  /// The block with all weights of the other neurons zero.
  public func masked(keeping neurons: [Int]) -> FeedForwardBlock {
    var keeps = [Bool](repeating: false, count: self.neurons)
    for neuron in neurons { keeps[neuron] = true }
    var result = self
    for i in keeps.indices where !keeps[i] {
      for j in 0..<up.columns {
        result.up[i, j] = 0
        result.gate?[i, j] = 0
      }
      for o in 0..<down.rows { result.down[o, i] = 0 }
    }
    return result
  }

  func check(inputs: SiteStatistics?, neurons statistics: SiteStatistics?, method: String) throws(Problem) {
    try inputs?.check(inputs: up.columns, method: method)
    try statistics?.check(inputs: neurons, method: method)
  }
}
