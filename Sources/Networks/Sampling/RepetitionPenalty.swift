/// Makes tokens that occurred less probable: positive logits are divided by the penalty, negative ones multiplied
/// (Keskar et al. 2019).
public struct RepetitionPenalty: LogitWarper {
  /// 1 changes nothing.
  public let penalty: Float
  public init(_ penalty: Float) { self.penalty = penalty }

  public func warp(_ candidates: inout TokenCandidates, context: [Int32]) {
    let seen = Set(context)
    for index in candidates.all.indices where seen.contains(candidates.all[index].token) {
      let logit = candidates.all[index].logit
      candidates.all[index].logit = logit > 0 ? logit / penalty : logit * penalty
    }
  }
}
