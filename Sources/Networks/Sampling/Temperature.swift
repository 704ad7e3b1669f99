/// Logits divided by a temperature: below 1 the probable becomes more so.
public struct Temperature: LogitWarper {
  /// Above 0.
  public let value: Float
  public init(_ value: Float) { self.value = value }

  public func warp(_ candidates: inout TokenCandidates, context: [Int32]) {
    for index in candidates.all.indices { candidates.all[index].logit /= value }
  }
}
