public import EspalierBasics

/// How sparse a network is while it is pruned step by step: fast at first, slower as less is left.
///
/// ```
/// s(t) = final + (initial - final) (1 - (t - begin) / (end - begin))³        begin <= t <= end
/// ```
///
/// Before `begin` it is `initial`, after `end` it is `final`, both exactly. Source: `zhu2018prune`, equation 1.
public struct GradualSchedule: Sendable, Hashable {
  public let initial: Double
  public let final: Double
  public let begin: Int
  public let end: Int
  /// Steps from one change to the next.
  public let interval: Int

  /// - Throws: `reduction` for a share outside 0 to 1, a final one below the initial one, an end that is not after the
  ///   beginning, or an interval that is not positive.
  public init(from initial: Double = 0, to final: Double, begin: Int, end: Int, interval: Int = 1) throws(Problem) {
    try PruningPattern.check(share: initial)
    try PruningPattern.check(share: final)
    guard initial <= final else { throw Problem(.reduction, "a schedule cannot fall from \(initial) to \(final)") }
    let (length, overflow) = end.subtractingReportingOverflow(begin)
    guard length > 0, !overflow, interval > 0 else {
      throw Problem(.reduction, "a schedule from step \(begin) to \(end) every \(interval) steps has no length")
    }
    self.initial = initial
    self.final = final
    self.begin = begin
    self.end = end
    self.interval = interval
  }

  /// The sparsity at a step; between changes that of the last one.
  public func sparsity(at step: Int) -> Double {
    if step >= end { return final }
    let changed = max(0, step - begin) / interval * interval
    if changed == 0 { return initial }
    let left = 1 - Double(changed) / Double(end - begin)
    return final + (initial - final) * left * left * left
  }
}
