internal import EspalierBasics
internal import EspalierExecution
internal import EspalierNumerics

/// Runs rank selection over passes of a merge.
enum RankScan {
  /// Finds the cuts of `requests`.
  ///
  /// - Parameter values: prepares a block and hands the values of a channel over, for every channel it is asked for.
  static func cuts(
    _ requests: [RankRequest], of tensor: TensorPasses,
    values: (Block, _ give: (_ channel: Int, UnsafePointer<Float>) -> Void) -> Void
  ) throws(Problem) -> [RankCut] {
    guard !requests.isEmpty else { return [] }
    let selector = RankSelector(count: tensor.elementCount, requests: requests)
    try tensor.forBlocks(selector.sampleBlocks) { block in
      values(block) { channel, pointer in
        selector.addSample(channel: channel, values: UnsafeBufferPointer(start: pointer, count: block.count))
      }
    }
    while !selector.isFinished {
      try selector.beginPass()
      try tensor.forEachBlock { block in
        values(block) { channel, pointer in
          selector.scan(
            block: block.index, channel: channel, values: UnsafeBufferPointer(start: pointer, count: block.count))
        }
      }
      try selector.endPass()
    }
    return requests.indices.map { selector.cut(of: $0) }
  }
}
