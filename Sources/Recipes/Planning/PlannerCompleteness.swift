internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierMerging

/// Nothing that is stored is left out, and nothing that the family requires is absent, without a word.
extension MergePlanner {
  /// Complains about what the family requires and no source of the slice has; what some lack is told tensor by tensor.
  mutating func requireComplete(_ module: String, _ slice: Slice, isFirst: Bool, isLast: Bool) {
    guard let first = slice.sources.first else { return }
    let wanted = models[first.model].structure.missing.filter { slot in
      guard slot.module == module else { return false }
      switch slot.part {
      case .before: return isFirst
      case .after: return isLast
      case .layer(let layer): return first.firstLayer..<first.firstLayer + slice.layers ~= layer
      }
    }
    let missing = wanted.filter { slot in
      slice.sources.allSatisfy { source in
        var slot = slot
        if case .layer(let layer) = slot.part { slot.part = .layer(layer - first.firstLayer + source.firstLayer) }
        let structure = models[source.model].structure
        return structure[slot] == nil && structure.tied(slot) == nil
      }
    }
    guard !missing.isEmpty else { return }
    complain(
      .mergeInputs,
      "\(models[first.model].reference.key) lacks \(Self.listed(missing.map(\.name))), which the family requires",
      remedy: "The model is incomplete, or its config.json belongs to another.", line: first.line)
  }

  /// Complains about stored tensors that nothing above has placed: none is dropped in silence.
  mutating func requireAllPlanned(_ module: String, _ slice: Slice) {
    guard problems.errors.isEmpty else { return }
    for source in slice.sources {
      let model = models[source.model]
      let left = model.structure.tensors.filter { tensor in
        tensor.slot.module == module && !planned[source.model].contains(ExactString(tensor.parameter.name))
      }
      guard !left.isEmpty else { continue }
      complain(
        .mergeInputs, "\(model.reference.key) has \(Self.listed(left.map(\.parameter.name))), which have no place",
        remedy: "Remove them from the model, or correct the number of layers in its config.json.", line: source.line)
    }
  }

  /// The first names of many, and how many more there are.
  static func listed(_ names: [String]) -> String {
    names.prefix(3).joined(separator: ", ") + (names.count > 3 ? " and \(names.count - 3) more" : "")
  }
}
