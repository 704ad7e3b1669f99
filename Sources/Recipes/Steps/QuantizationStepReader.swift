internal import EspalierBasics
internal import EspalierLinearMaps

/// A step that writes the model as a GGUF file, `model.gguf` in the step's folder.
struct QuantizationStep: Sendable {
  /// Of a target it says how tensors are written that none is chosen for.
  var mix = QuantizationMix.standard
  var rules: [TensorTypeRule] = []
  var isPure = false
  var isRefined = false
  var imatrix: StepFile?
  var statistics: StepFile?
  var target: Target?
  /// How matrices are rounded to their blocks by what reaches them; its budget and storage say nothing.
  var calibration: ReductionStep?

  /// What types are chosen for, and by what.
  struct Target: Sendable {
    var goal: TypeFit.Target
    var effectText: [StepFile] = []
    var effectLimit = 4
    var effectWindow = 128
    var types: [BlockType]?
    var table: StepFile?
    var signal = TypeSensitivity.Signal.measured
  }
}

extension RecipeReader {
  private static let goals = ["size", "bits", "max_kl"]
  private static let fitting = ["effect_text", "effect_limit", "effect_window", "types", "table", "signal"]

  /// What `quantize:` takes for a GGUF file: without a method, or with GPTQ and a type or a size.
  mutating func quantization(_ node: RecipeNode, line: Int) -> QuantizationStep? {
    let keys = ["type", "tensor_types", "pure", "refined", "imatrix", "statistics"]
    let rounding = node["method"] == nil ? [] : Self.calibration.filter { $0 != "store" }
    guard checkKeys(node, known: keys + Self.goals + Self.fitting + rounding, of: "quantize") else { return nil }
    let before = problems.errors.count
    var step = QuantizationStep()
    if node["method"] != nil { step.calibration = blockCalibration(node, line: line) }
    let given = Self.goals.filter { node[$0] != nil }
    if node["type"] != nil {
      if let mix = mix(node) { step.mix = mix }
      if let other = (given + Self.fitting).first(where: { node[$0] != nil }) {
        let gate = other == "max_kl" ? "A gate goes into a step `evaluate`." : nil
        complain(
          .recipeValue, "\(other) is of targets, for which types are chosen; type gives them", remedy: gate,
          line: node[other]?.line ?? line)
      }
    } else if given.count != 1 {
      complain(
        .recipeValue, "quantize takes one of type, size, bits and max_kl, or a method",
        remedy: "Types: \(QuantizationMix.all.map(\.name).joined(separator: ", ")).", line: line)
    } else {
      step.target = target(node, given[0], line: line)
    }
    for written in words(node, "tensor_types") {
      do throws(Problem) { step.rules.append(try TensorTypeRule(written.path)) } catch {
        complain(.recipeValue, error.message, remedy: error.remedy, line: written.line)
      }
    }
    step.isPure = flag(node, "pure") ?? false
    step.isRefined = flag(node, "refined") ?? false
    step.imatrix = file(node, "imatrix")
    step.statistics = file(node, "statistics")
    if let imatrix = step.imatrix, step.statistics != nil {
      complain(.recipeValue, "imatrix and statistics exclude each other", line: imatrix.line)
    }
    if step.isPure, step.target != nil {
      complain(
        .recipeValue, "pure is for type: a target gives each tensor its own", line: node["pure"]?.line ?? line)
    }
    return problems.errors.count == before ? step : nil
  }

  private mutating func mix(_ node: RecipeNode) -> QuantizationMix? {
    guard let name = word(node, "type") else { return nil }
    if let mix = QuantizationMix.named(name) { return mix }
    let names = QuantizationMix.all.map(\.name)
    let near = Spelling.nearest(to: name.uppercased(), among: names)
    complain(
      .recipeValue, "there is no type \"\(name)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
      remedy: "Types: \(names.joined(separator: ", ")).", line: node["type"]?.line ?? node.line)
    return nil
  }

  private mutating func target(_ node: RecipeNode, _ key: String, line: Int) -> QuantizationStep.Target? {
    let goal: TypeFit.Target? =
      switch key {
      case "size":
        value(node, key, expected: "a size like 100MB") { $0.text.flatMap { ByteCount.parse($0) }.map { .bytes($0) } }
      case "bits":
        value(node, key, expected: "a number above 0, and at most 32") { written in
          written.number.flatMap { $0 > 0 && $0 <= 32 ? .bits($0) : nil }
        }
      default:
        value(node, key, expected: "a number above 0") { written in
          written.number.flatMap { $0 > 0 && $0.isFinite ? .divergence($0) : nil }
        }
      }
    guard let goal else { return nil }
    var target = QuantizationStep.Target(goal: goal)
    target.effectText = words(node, "effect_text")
    target.effectLimit = natural(node, "effect_limit", from: 1) ?? target.effectLimit
    target.effectWindow = natural(node, "effect_window", from: 2) ?? target.effectWindow
    target.table = file(node, "table")
    let names = words(node, "types")
    if !names.isEmpty {
      do throws(Problem) { target.types = try TypeFitting.types(named: names.map(\.path)) } catch {
        complain(.recipeValue, "types: \(error.message)", line: names[0].line)
      }
    }
    target.signal = choice(node, "signal", TypeSensitivity.Signal.self) ?? .measured
    if target.signal == .variance, let signal = node["signal"] {
      if let table = target.table {
        complain(.recipeValue, "a table has its own signal", line: table.line)
      } else if key == "max_kl" {
        complain(
          .recipeValue, "the variance of weights foresees no divergence", remedy: "Give size or bits as the target.",
          line: signal.line)
      }
    } else if target.effectText.isEmpty, target.table == nil || key == "max_kl" {
      complain(
        .recipeValue,
        key == "max_kl"
          ? "a divergence needs effect_text, on which it is met"
          : "a target needs effect_text, on which effects are measured, a table of them, or `signal: variance`",
        line: line)
    }
    return target
  }
}
