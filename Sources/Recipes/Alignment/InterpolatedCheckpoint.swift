internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierRestructuring

/// A model on the straight line between two: every parameter is `(1 - λ) a + λ b`.
enum InterpolatedCheckpoint {
  /// - Parameters:
  ///   - weight: λ: the share of `second`.
  /// - Returns: with the config and tokenizer of `first`; at 0 and 1 the models themselves.
  /// - Throws: as ``CombinedCheckpoint/checkShapes(_:_:)``.
  static func between(
    _ first: any Checkpoint, _ second: any Checkpoint, at weight: Double
  ) throws(Problem) -> any Checkpoint {
    try CombinedCheckpoint.checkShapes(first, second)
    if weight == 0 { return first }
    if weight == 1 { return second }
    return try CombinedCheckpoint.sum([(1 - weight, first), (weight, second)])
  }
}
