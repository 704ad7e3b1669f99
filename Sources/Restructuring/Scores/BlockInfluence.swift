internal import EspalierBasics
internal import EspalierNetworks

/// How far each layer turns the rows that go through it: `1 - E[cos(x_in, x_out)]` (ShortGPT's block influence).
enum BlockInfluence {
  /// - Returns: one figure a layer, in their order.
  static func measure(_ network: Network, on sequences: [[Int32]]) throws(Problem) -> [Double] {
    let run = try BlockRun(network, sequences: sequences)
    var influence: [Double] = []
    for _ in try network.blocks() {
      // Cosines are taken only where somebody looks at the block.
      guard let similarity = try run.runBlock(observe: { _, _ in }) else { continue }
      influence.append(similarity.count == 0 ? 1 : 1 - similarity.sum / Double(similarity.count))
    }
    return influence
  }
}
