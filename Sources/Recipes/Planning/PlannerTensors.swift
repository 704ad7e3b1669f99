internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierMerging

// Which tensors there are, and what is merged where some models lack one.
extension MergePlanner {
  /// What the sources of a slice have in a part of a module, each once, in the order of the first that has it.
  func templates(
    _ module: String, in slice: Slice, where isWanted: (ModelStructure.Part) -> Bool
  ) -> [ModelStructure.Slot] {
    var seen: Set<ExactString> = []
    var slots: [ModelStructure.Slot] = []
    for source in slice.sources {
      for tensor in models[source.model].structure.tensors
      where tensor.slot.module == module && isWanted(tensor.slot.part) && seen.insert(tensor.slot.template).inserted {
        slots.append(tensor.slot)
      }
    }
    return slots
  }

  mutating func tensor(
    _ slot: ModelStructure.Slot, part: ModelStructure.Part, layer: Int, output: Int?, position: Double, slice: Slice
  ) {
    let slots = slice.sources.map { source in
      var wanted = slot
      if case .layer(let layer) = part { wanted.part = .layer(source.firstLayer + layer) } else { wanted.part = part }
      return wanted
    }
    var entries: [(source: Source, tensor: ModelStructure.Tensor?)] = zip(slice.sources, slots).map {
      ($0, models[$0.model].structure[$1])
    }
    // Layer kinds may alternate: a template that no source has at this layer is none of this layer's tensors.
    guard let example = entries.lazy.compactMap(\.tensor).first else { return }
    for (index, slot) in slots.enumerated() where entries[index].tensor == nil {
      entries[index].tensor = models[entries[index].source.model].structure.tied(slot)
    }
    for entry in entries {
      if let tensor = entry.tensor { planned[entry.source.model].insert(ExactString(tensor.parameter.name)) }
    }
    let name = output.map { example.spelling.replacing("{layer}", with: "\($0)") } ?? example.spelling
    guard let present = settle(entries, name: name, isOptional: example.isOptional, slice: slice) else { return }
    if present.isPassedThrough {
      add(name: name, slot: slot, entries: present.entries, base: slice.base, operation: nil, line: slice.line)
    } else {
      let parameters = parameters(for: present, output: name, position: position, slice: slice)
      guard let parameters else { return }
      add(
        name: name, slot: slot, entries: present.entries, base: slice.base,
        operation: .method(method.card.name, parameters), line: slice.line)
    }
  }

  struct Present {
    /// The base first, where it has its role.
    var entries: [(source: Source, tensor: ModelStructure.Tensor)]
    var hasBase: Bool
    var isPassedThrough: Bool
  }

  /// Decides what is merged when some models lack a tensor; nil if nothing is, or if that is an error.
  private mutating func settle(
    _ entries: [(source: Source, tensor: ModelStructure.Tensor?)], name: String, isOptional: Bool, slice: Slice
  ) -> Present? {
    let rule = method.inputs
    var found = entries.compactMap { entry in entry.tensor.map { (source: entry.source, tensor: $0) } }
    let lacking = entries.filter { $0.tensor == nil }.map { models[$0.source.model].reference.key }
    if !lacking.isEmpty, !isOptional {
      complain(
        .mergeInputs, "\(lacking.joined(separator: ", ")) has no such tensor, which the family requires",
        remedy: "The model is incomplete or of another kind.", tensor: name, line: slice.line)
      return nil
    }
    var hasBase = false
    if case .ordinary = rule.base {
    } else if let base = slice.base {
      if let position = found.firstIndex(where: { $0.source.model == base }) {
        found.insert(found.remove(at: position), at: 0)
        hasBase = true
      } else if !slice.sources.contains(where: { $0.model == base }) {
        complain(
          .mergeInputs, "the base model is not among the sources of the slice",
          remedy: "Add it to the sources with the layers it stands for.", line: slice.line)
        return nil
      }
    }
    let alone = Present(entries: Array(found.prefix(1)), hasBase: false, isPassedThrough: true)
    if !lacking.isEmpty {
      switch rule.missing {
      case .passSingle where found.count == 1: return alone
      case .passBase where found.count == 1 && hasBase: return alone
      case .passBaseOrSkip where found.count == 1 && hasBase: return alone
      case .passBaseOrSkip where found.count < rule.count.lowerBound:
        complain(
          .mergeInputs, "only \(found.count) models have the tensor; it is left out", tensor: name, line: slice.line,
          severity: .warning)
        return nil
      default: break
      }
    }
    if case .required = rule.base, !hasBase {
      complain(
        .mergeInputs,
        slice.base == nil ? "\(method.card.name) needs a base_model" : "the base model lacks the tensor",
        tensor: slice.base == nil ? nil : name, line: slice.base == nil ? recipe.methodLine : slice.line)
      return nil
    }
    guard rule.count.contains(found.count) else {
      let wanted =
        rule.count.lowerBound == rule.count.upperBound
        ? "\(rule.count.lowerBound)"
        : rule.count.upperBound == Int.max
          ? "\(rule.count.lowerBound) or more" : "\(rule.count.lowerBound) to \(rule.count.upperBound)"
      let base = hasBase ? " (the base included)" : ""
      complain(
        .mergeInputs, "\(method.card.name) takes \(wanted) models\(base), here are \(found.count)",
        line: slice.line)
      return nil
    }
    return Present(entries: found, hasBase: hasBase, isPassedThrough: false)
  }
}

extension Problem.Code {
  static let baseIsInput = Problem.Code("recipe.base-is-input")
}
