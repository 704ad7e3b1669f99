internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints

extension UnitGroup {
  /// Costs of the units, in the order in which they leave, in nats a token: together those of a share cost what the model
  /// was measured to lose without that share of this group alone.
  ///
  /// - Parameters:
  ///   - costs: of the units in any unit of measure, in the order in which they leave.
  ///   - share: of the units that stays.
  ///   - choice: which units stay if so many do.
  func measuredCosts(
    _ costs: [Double], share: Double, in subject: any StructuralSubject, choice: (Int) -> AxisChoice
  ) throws(Problem) -> [Double] {
    let kept = min(count - 1, max(1, Int((share * Double(count)).rounded())))
    guard kept > 0 else { return costs }
    let change = StructuralChange(choices: [axis.instance: choice(kept)])
    let name = "\(kept) of \(count) of \(axis.instance)"
    let loss = try subject.divergence(of: try subject.changed(change), named: name)
    subject.progress("\(name): \(loss) nats")
    let sum = costs.prefix(count - kept).reduce(0, +)
    // Where units that score nothing lose something, all cost alike.
    return sum > 0 ? costs.map { $0 * loss / sum } : costs.map { _ in loss / Double(count - kept) }
  }
}
