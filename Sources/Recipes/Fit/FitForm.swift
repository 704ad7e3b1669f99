internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierReduction

/// A way in which matrices may be stored, with the levels at which it is measured.
struct FitForm: Sendable {
  let knob: FitKnob
  let method: String
  let parameters: [String: ParameterValue]
  let levels: [MatrixBudget]

  private init(_ knob: FitKnob, _ method: String, _ parameters: [String: ParameterValue], _ levels: [MatrixBudget]) {
    (self.knob, self.method, self.parameters, self.levels) = (knob, method, parameters, levels)
  }

  /// Codes of so many bits.
  ///
  /// - Parameter group: columns that share a scale; nil for all of a row.
  static func codes(bits: Int, group: Int?) throws(Problem) -> FitForm {
    var wish = CodeWish()
    wish.bits = Double(bits)
    wish.group = group.map { .columns($0) } ?? .row
    // Few levels are worth a zero point, many are not.
    wish.isSymmetric = bits > 4
    return FitForm(.bits, GPTQ.card.name, try wish.parameters(of: GPTQ.card.name, beside: [:]), [.sparsity(0)])
  }

  /// The forms of knobs for matrices of such widths.
  static func all(_ knobs: Set<FitKnob>, widths: Set<Int>) throws(Problem) -> [FitForm] {
    // The widest groups that no matrix has a part of.
    let group = [128, 64, 32].first { group in widths.allSatisfy { $0 % group == 0 } }
    var forms: [FitForm] = []
    if knobs.contains(.bits) {
      for bits in [2, 3, 4, 5, 6, 8] { forms.append(try codes(bits: bits, group: group)) }
    }
    if knobs.contains(.sparsity) {
      let levels = [0.3, 0.5, 0.6, 0.7, 0.8, 0.9].map { MatrixBudget.sparsity($0) }
      forms.append(FitForm(.sparsity, SparseGPT.card.name, [:], levels))
    }
    if knobs.contains(.rank) {
      let levels = [0.7, 0.5, 0.35, 0.2].map { MatrixBudget.parameters($0) }
      forms.append(FitForm(.rank, WhitenedSVD.card.name, [:], levels))
    }
    return forms
  }

  func request(
    _ goal: ReductionRequest.Goal, source: ReductionRequest.Source, keep: [String]
  ) -> ReductionRequest {
    var request = ReductionRequest(method: method, goal: goal, source: source)
    (request.parameters, request.keep, request.measuresBaseline) = (parameters, keep, false)
    request.storage = knob == .bits ? .packed : .reduced
    request.layout = knob == .bits ? .packQuantized : nil
    // A head of factors or zeros would be widened where it is the embedding too.
    request.takesHead = knob == .bits
    return request
  }

  /// For people: `4 bits with zero points, groups of 64`.
  func text(_ level: MatrixBudget) -> String {
    request(.budget(level), source: .nothing, keep: []).words(for: level)
  }
}
