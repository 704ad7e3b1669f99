/// Logits divided by a temperature: below 1 the probable becomes more so.
public struct Temperature: LogitWarper {
  /// Above 0.
  public let value: Float
  public init(_ value: Float) { self.value = value }

  public func warp(_ candidates: inout TokenCandidates, context: [Int32]) {
    // Distances to the greatest are what counts; divided in float64, the smallest temperature leaves them numbers.
    guard let peak = candidates.all.map(\.logit).max(), peak.isFinite else { return }
    for index in candidates.all.indices {
      let distance = (Double(candidates.all[index].logit) - Double(peak)) / Double(value)
      candidates.all[index].logit = Float(max(distance, -Double(Float.greatestFiniteMagnitude)))
    }
  }
}
