internal import EspalierBasics
internal import EspalierEvaluation

extension RecipeReader {
  private static let measuring = [
    "against", "text", "choices", "answers", "labels", "sentences", "protocol", "window", "stride", "limit",
    "answer_tokens", "seed", "strict",
  ]

  /// What `evaluate:` takes.
  mutating func evaluation(_ node: RecipeNode, line: Int) -> EvaluationStep? {
    guard checkKeys(node, known: Self.measuring + Gate.Kind.allCases.map(\.recipeKey), of: "evaluate") else {
      return nil
    }
    let before = problems.errors.count
    var step = EvaluationStep()
    if let written = node["against"] {
      switch written.text {
      case "original": step.reference = .original
      case "previous": step.reference = .previous
      default: step.reference = reference(written).map { .model($0) }
      }
    }
    (step.text, step.choices, step.answers) = (words(node, "text"), words(node, "choices"), words(node, "answers"))
    (step.labels, step.sentences) = (words(node, "labels"), words(node, "sentences"))
    step.cut = choice(node, "protocol", TextCutName.self) ?? .windows
    step.window = natural(node, "window", from: 2)
    step.stride = natural(node, "stride", from: 1)
    step.limit = natural(node, "limit", from: 1)
    step.answerTokens = natural(node, "answer_tokens", from: 1) ?? step.answerTokens
    step.seed = natural(node, "seed").map { UInt64($0) } ?? 0
    if step.stride != nil, step.cut != .sliding {
      complain(.recipeValue, "stride needs `protocol: sliding`", line: node["stride"]?.line ?? line)
    }
    if step.files.isEmpty, problems.errors.count == before {
      complain(
        .recipeValue, "evaluate has nothing to measure on",
        remedy: "Give text, choices, answers, labels or sentences.", line: line)
    }
    gates(node, of: &step, before: before)
    return problems.errors.count == before ? step : nil
  }

  private mutating func gates(_ node: RecipeNode, of step: inout EvaluationStep, before: Int) {
    let strict = flag(node, "strict") ?? false
    for kind in Gate.Kind.allCases {
      guard let written = node[kind.recipeKey], let text = word(node, kind.recipeKey) else { continue }
      do throws(Problem) {
        step.gates.append(try Gate(kind, parsing: text, strict: strict))
      } catch {
        // The option's name is the key's.
        complain(
          .recipeValue, error.message.replacing("--\(kind.rawValue)", with: kind.recipeKey), remedy: error.remedy,
          line: written.line)
        continue
      }
      guard problems.errors.count == before, let missing = kind.missing(in: step) else { continue }
      complain(
        .recipeValue, "\(kind.recipeKey) limits a figure that is not measured", remedy: missing, line: written.line)
    }
  }
}

extension Gate.Kind {
  var recipeKey: String { rawValue.replacing("-", with: "_") }

  /// What a step lacks to measure the figure; nil if nothing.
  fileprivate func missing(in step: EvaluationStep) -> String? {
    let (needed, wantsReference): ([(String, [StepFile])], Bool?) =
      switch self {
      case .maximumKL, .maximumJS, .maximumPerplexityRise, .minimumSameTop: ([("text", step.text)], true)
      // Of two models perplexity is told as its change.
      case .maximumPerplexity, .maximumBitsPerByte: ([("text", step.text)], false)
      case .minimumAccuracy: ([("choices", step.choices), ("labels", step.labels)], nil)
      case .minimumNormalizedAccuracy: ([("choices", step.choices)], nil)
      case .minimumExactMatch: ([("answers", step.answers)], nil)
      case .maximumAccuracyDrop:
        ([("choices", step.choices), ("answers", step.answers), ("labels", step.labels)], true)
      case .minimumCosine: ([("sentences", step.sentences)], true)
      }
    if needed.allSatisfy(\.1.isEmpty) { return "It needs \(needed.map(\.0).joined(separator: " or "))." }
    guard let wantsReference, wantsReference != (step.reference != nil) else { return nil }
    return wantsReference ? "It needs `against`." : "It is measured in a step without `against`."
  }
}
