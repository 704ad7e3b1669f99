internal import EspalierBasics

/// A step that writes the model as a GGUF file, `model.gguf` in the step's folder.
struct QuantizationStep: Sendable {
  var mix: QuantizationMix
  var rules: [TensorTypeRule] = []
  var isPure = false
  var isRefined = false
  var imatrix: StepFile?
  var statistics: StepFile?
}

extension RecipeReader {
  /// What `quantize:` takes.
  mutating func quantization(_ node: RecipeNode, line: Int) -> QuantizationStep? {
    let keys = ["type", "tensor_types", "pure", "refined", "imatrix", "statistics"]
    guard checkKeys(node, known: keys, of: "quantize") else { return nil }
    let before = problems.errors.count
    let names = QuantizationMix.all.map(\.name)
    guard let name = word(node, "type") else {
      if problems.errors.count == before {
        complain(.recipeValue, "quantize needs a type", remedy: "Types: \(names.joined(separator: ", ")).", line: line)
      }
      return nil
    }
    guard let mix = QuantizationMix.named(name) else {
      let near = Spelling.nearest(to: name.uppercased(), among: names)
      complain(
        .recipeValue, "there is no type \"\(name)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
        remedy: "Types: \(names.joined(separator: ", ")).", line: node["type"]?.line ?? line)
      return nil
    }
    var step = QuantizationStep(mix: mix)
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
    return problems.errors.count == before ? step : nil
  }
}
