/// Keeps the k most probable tokens (Fan, Lewis, Dauphin 2018).
public struct TopK: LogitWarper {
  /// At least 1.
  public let count: Int
  public init(_ count: Int) { self.count = count }

  public func warp(_ candidates: inout TokenCandidates, context: [Int32]) {
    candidates.keepLargest(count)
  }
}
