internal import EspalierBasics
internal import EspalierNumerics
internal import EspalierReduction
internal import EspalierRestructuring

/// What is to become of a model: which layers leave, and the form of each parameter that stays.
struct FitChoice: Sendable {
  /// Layers that leave, the first first.
  let removed: [DepthOrder.Step]
  /// The rows that stay, in the order of the model, with the candidate of each; nil leaves one as it is.
  let rows: [(row: FitCurves.Row, candidate: FitCurves.Candidate?)]
  /// Bytes of all tensors.
  let bytes: Int
  /// What it is foreseen to lose: that of the layers and the sum over parameters.
  let loss: Double
  /// How sure it is that no other choice of forms is better.
  let certificate: String

  /// The best choice of forms for every number of layers that may leave, those that fit.
  ///
  /// - Parameters:
  ///   - steps: layers in the order in which they leave.
  ///   - untouched: bytes of what is in no row, without the layers of so many steps.
  /// - Throws: `reduction` if nothing fits, naming the least bytes that do.
  static func all(
    _ curves: FitCurves, _ steps: [DepthOrder.Step], within bytes: Int, untouched: [Int],
    allowing isAllowed: (FitCurves.Candidate) -> Bool = { _ in true }
  ) throws(Problem) -> [FitChoice] {
    var choices: [FitChoice] = []
    var least = Int.max
    for count in 0...steps.count {
      let removed = Array(steps.prefix(count))
      let gone = Set(removed.map(\.layer))
      let rows = curves.rows.filter { row in row.layer.map { !gone.contains($0) } ?? true }
      let allowed = rows.map { $0.candidates.filter(isAllowed) }
      let smallest = zip(rows, allowed).reduce(untouched[count]) { sum, row in
        sum + min(row.0.denseBytes, row.1.map(\.bytes).min() ?? row.0.denseBytes)
      }
      least = min(least, smallest)
      guard smallest <= bytes else { continue }
      let items = zip(rows, allowed).map { row, candidates in
        AllocationItem(
          row.name,
          choices: candidates.map { .init(cost: $0.bytes, error: $0.loss) } + [.init(cost: row.denseBytes, error: 0)])
      }
      let found = try BudgetAllocation.leastError(of: items, within: bytes - untouched[count])
      let chosen = zip(allowed, found.choices).map { $1 < $0.count ? $0[$1] : nil }
      choices.append(
        FitChoice(
          removed: removed, rows: zip(rows, chosen).map { ($0, $1) }, bytes: untouched[count] + found.cost,
          loss: (removed.last?.divergence ?? 0) + found.error,
          certificate: "\(found.certificate.kind.rawValue): \(found.certificate.norm)"))
    }
    guard !choices.isEmpty else {
      throw Problem(
        .reduction,
        "nothing that was measured fits into \(ByteCount.text(bytes)); the least is \(ByteCount.text(least))",
        remedy: "Ask for a larger --size, or allow more --knobs.")
    }
    return choices
  }
}
