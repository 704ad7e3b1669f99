/// Keeps the most probable tokens that together reach probability p, the one that reaches it included (Holtzman et al.
/// 2020).
public struct TopP: LogitWarper {
  /// From 0 to 1.
  public let probability: Double
  public init(_ probability: Double) { self.probability = probability }

  public func warp(_ candidates: inout TokenCandidates, context: [Int32]) {
    candidates.sort()
    var (sum, count) = (0.0, 0)
    for value in candidates.probabilities {
      count += 1
      sum += value
      if sum >= probability { break }
    }
    candidates.keep(first: count)
  }
}
