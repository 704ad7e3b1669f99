internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierMerging

// The parameters of the method, from the scopes of the recipe.
extension MergePlanner {
  mutating func parameters(
    for present: Present, output: String, position: Double, slice: Slice
  ) -> MergeParameters? {
    let card = method.card
    var shared: [String: ParameterValue] = [:]
    var inputs = [[String: ParameterValue]](repeating: [:], count: present.entries.count)
    var complete = true
    for parameter in card.parameters {
      guard parameter.scope != .tensor else {
        let value = lookup(parameter.name, in: slice.scopes, tensor: output, position: position) ?? parameter.standard
        shared[parameter.name] = value
        if value == nil, parameter.isRequired {
          complete = false
          complainOnce(
            "\(card.name) needs the parameter \(parameter.name) (\(parameter.expected))", line: recipe.methodLine)
        }
        continue
      }
      for (index, entry) in present.entries.enumerated() {
        if parameter.scope == .nonBase, present.hasBase, index == 0 { continue }
        let value =
          lookup(
            parameter.name, in: [entry.source.settings] + slice.scopes, tensor: entry.tensor.parameter.name,
            position: position) ?? parameter.standard
        inputs[index][parameter.name] = value
        if value == nil, parameter.isRequired {
          complete = false
          complainOnce(
            "\(card.name) needs the parameter \(parameter.name) (\(parameter.expected)) for "
              + models[entry.source.model].reference.key, line: entry.source.line)
        }
      }
    }
    return complete ? MergeParameters(shared: shared, inputs: inputs, hasBase: present.hasBase) : nil
  }

  private func lookup(
    _ name: String, in scopes: [ParameterSettings], tensor: String, position: Double
  ) -> ParameterValue? {
    for scope in scopes {
      if let value = scope.entries[name]?.setting.value(for: tensor, position: position) { return value }
    }
    return nil
  }

  /// A complaint that would repeat for every tensor is made once.
  private mutating func complainOnce(_ message: String, line: Int) {
    guard !problems.all.contains(where: { $0.message == message && $0.context.recipeLine == line }) else { return }
    complain(.parameterMissing, message, line: line)
  }
}
