internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// Magnitude pruning with one threshold for all matrices that are reduced (`scope=model`): what each of them loses is
/// found before any is pruned, by ``GlobalMagnitudeCut``, in three passes over the weights with one matrix in memory.
///
/// What each loses then is what the same method takes of it by itself at that count.
struct GlobalPruning {
  /// What one matrix loses.
  struct Part {
    let budget: MatrixBudget
    let text: String
  }

  private let parts: [ExactString: Part]
  /// For people.
  let text: String

  init(_ plan: ReductionPlan) throws(Problem) {
    guard case .budget(.sparsity(let share)) = plan.request.goal else { throw Self.refusal }
    let matrices = plan.blocks.flatMap(\.matrices)
    let cut = try GlobalMagnitudeCut(over: matrices.count, sparsity: share) { (index) throws(Problem) in
      let weight = try plan.network.weight(of: matrices[index])
      try SiteReduction.requireFinite(weight, of: matrices[index])
      return weight.elements
    }
    var parts: [ExactString: Part] = [:]
    for (index, matrix) in matrices.enumerated() {
      let count = matrix.outputs * matrix.inputs
      let gone = cut.cuts[index].count
      let percent = Decimals.text(100 * Double(gone) / Double(max(1, count)), 2)
      parts[ExactString(matrix.name)] = Part(
        budget: cut.budget(of: index, elements: count), text: "\(gone) of \(count) zero (\(percent) %)")
    }
    self.parts = parts
    let gone = cut.cuts.reduce(0) { $0 + $1.count }
    let threshold = cut.cuts.first?.threshold ?? 0
    let all = matrices.reduce(0) { $0 + $1.outputs * $1.inputs }
    text = "one threshold for \(matrices.count) matrices: weights below \(threshold) go, \(gone) of \(all)"
  }

  func part(_ matrix: String) -> Part? { parts[ExactString(matrix)] }

  // MARK: - Requests

  static func isAsked(_ request: ReductionRequest) -> Bool {
    request.method == MagnitudePruning.card.name && request.parameters["scope"] == .word("model")
  }

  private static let refusal = Problem(
    .reduction, "one threshold for the whole model deals a sparsity out itself",
    remedy: "Give --sparsity alone, or another scope.")

  /// Refuses levels of single matrices where one threshold is asked for.
  static func refuseLevels(_ request: ReductionRequest) throws(Problem) {
    if isAsked(request) { throw refusal }
  }

  static func complaints(_ request: ReductionRequest) -> [Problem] {
    guard isAsked(request) else { return [] }
    if case .budget(.sparsity) = request.goal {} else { return [refusal] }
    switch request.parameters["structure"] {
    case nil, .word("element")?: return []
    case let structure?:
      return [
        Problem(
          .reduction, "one threshold for the whole model is of single weights, not of structure \(structure)",
          remedy: "Leave `structure` or `scope` out.")
      ]
    }
  }
}
