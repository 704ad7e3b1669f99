internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierMerging
internal import EspalierNumerics

// What becomes of a tensor: its inputs, its type, and the operation.
extension MergePlanner {
  mutating func add(
    name: String, slot: ModelStructure.Slot, entries: [(source: Source, tensor: ModelStructure.Tensor)], base: Int?,
    operation: MergeJob.Operation?, line: Int
  ) {
    var inputs: [MergeJob.Input] = []
    for entry in entries {
      var parameter = entry.tensor.parameter
      if let dimension = entry.tensor.vocabularyDimension, let vocabulary {
        do throws(Problem) {
          parameter = try vocabulary.adapt(
            parameter, dimension: dimension, model: entry.source.model, peers: peers(of: slot, entries))
        } catch {
          problems.add(error.at(tensor: name, recipeLine: recipe.tokenizer?.line ?? line))
          return
        }
      }
      inputs.append(MergeJob.Input(model: models[entry.source.model].reference.key, parameter: parameter))
    }
    guard let first = inputs.first?.parameter else { return }
    guard names.insert(ExactString(name)).inserted else {
      complain(.mergeInputs, "two tensors of the output would have this name", tensor: name, line: line)
      return
    }
    if let other = inputs.first(where: { $0.parameter.shape != first.shape }) {
      let vocabulary = entries.contains { $0.tensor.vocabularyDimension != nil }
      complain(
        .mergeInputs,
        "shapes differ: \(inputs[0].model) has \(first.shape), \(other.model) has \(other.parameter.shape)",
        remedy: vocabulary
          ? "The vocabularies differ; add tokenizer_source: union (or base) to the recipe."
          : "Only models of one shape can be merged.", tensor: name, line: line)
      return
    }
    if entries[0].tensor.isUnknown { unknownOutputs.append(name) }
    let common = Self.commonType(of: inputs.map(\.parameter))
    guard let common else {
      complain(
        .mergeInputs,
        "element types cannot be mixed: "
          + inputs.map { "\($0.model) has \($0.parameter.elementType.safetensorsName)" }.joined(separator: ", "),
        tensor: name, line: line)
      return
    }
    if !common.isFloat, inputs.contains(where: { !$0.parameter.recipe.isStored }) {
      complain(
        .mergeInputs, "a tensor of type \(common.safetensorsName) can only be carried as it is stored",
        remedy: "Leave the tokenizer and adapters of the recipe out.", tensor: name, line: line)
      return
    }
    if !common.isFloat, let place = entries.firstIndex(where: { $0.source.model == base }) {
      // Where integers differ, the first decides.
      inputs.insert(inputs.remove(at: place), at: 0)
    }
    let type = common.isFloat ? recipe.outputType ?? recipe.computeType ?? common : common
    drafts.append(
      Draft(
        request: .init(name: name, elementType: type, shape: first.shape), inputs: inputs,
        operation: Self.simplest(operation, inputs: inputs, type: type)))
  }

  /// The parameter of every opened model, by index: rows may come from models that are not merged.
  private func peers(
    of slot: ModelStructure.Slot, _ entries: [(source: Source, tensor: ModelStructure.Tensor)]
  ) -> [Int: Parameter] {
    var peers: [Int: Parameter] = [:]
    for (index, model) in models.enumerated() {
      peers[index] = (model.structure[slot] ?? model.structure.tied(slot))?.parameter
    }
    for entry in entries { peers[entry.source.model] = entry.tensor.parameter }
    return peers
  }

  /// The type that holds all of the inputs: their own if they share it, else float32 or float64. Quantized inputs, which
  /// have no type of their own, follow the others.
  private static func commonType(of parameters: [Parameter]) -> ElementType? {
    let own = parameters.filter { !$0.isQuantized }
    let types = (own.isEmpty ? parameters : own).map(\.elementType)
    guard let first = types.first else { return nil }
    if types.allSatisfy({ $0 == first }) { return first }
    guard types.allSatisfy(\.isFloat) else { return nil }
    return types.contains(.f64) ? .f64 : .f32
  }

  /// Bytes are copied where nothing is to be computed, and where nothing can be.
  private static func simplest(
    _ operation: MergeJob.Operation?, inputs: [MergeJob.Input], type: ElementType
  ) -> MergeJob.Operation {
    let stored = inputs.allSatisfy(\.parameter.recipe.isStored)
    if !type.isFloat { return inputs.count == 1 ? .copy : .copyIdentical }
    let unscaled: Bool
    switch operation {
    case nil: unscaled = true
    case .method(Passthrough.card.name, let parameters):
      unscaled = parameters.inputs.first?["scale"].map { $0 == .number(1) } ?? true
    default: unscaled = false
    }
    if unscaled, stored, inputs[0].parameter.elementType == type { return .copy }
    return operation
      ?? .method(
        Passthrough.card.name, MergeParameters(shared: [:], inputs: [[:]], hasBase: false))
  }
}

extension StorageRecipe {
  /// Whether it is one tensor as it lies in a file.
  fileprivate var isStored: Bool { if case .stored = self { true } else { false } }
}
