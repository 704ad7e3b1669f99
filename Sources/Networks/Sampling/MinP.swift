/// Keeps tokens of at least a fraction of the most probable one's probability (Nguyen et al. 2024).
public struct MinP: LogitWarper {
  /// From 0 to 1.
  public let fraction: Double
  public init(_ fraction: Double) { self.fraction = fraction }

  public func warp(_ candidates: inout TokenCandidates, context: [Int32]) {
    candidates.sort()
    let probabilities = candidates.probabilities
    guard let largest = probabilities.first else { return }
    candidates.keep(first: probabilities.prefix { $0 >= fraction * largest }.count)
  }
}
