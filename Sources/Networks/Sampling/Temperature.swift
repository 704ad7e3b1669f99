/// Logits divided by a temperature: below 1 the probable becomes more so.
public struct Temperature: LogitWarper {
  /// Above 0.
  public let value: Float
  public init(_ value: Float) { self.value = value }

  public func warp(_ candidates: inout TokenCandidates, context: [Int32]) {
    // A very small temperature would carry logits beyond all numbers; their distances to the greatest, which are what
    // counts, it does not.
    let peak = candidates.all.map(\.logit).max() ?? 0
    let largest = candidates.all.reduce(0) { $1.logit.isFinite ? max($0, abs($1.logit)) : $0 }
    let origin = (largest / value).isFinite || !peak.isFinite ? 0 : peak
    for index in candidates.all.indices {
      let quotient = (candidates.all[index].logit - origin) / value
      candidates.all[index].logit = quotient
    }
  }
}
