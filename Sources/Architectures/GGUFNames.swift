internal import EspalierBasics

/// A tensor of a model's GGUF file with the parameters that it holds.
public struct GGUFTensorName: Sendable, Hashable {
  /// With `.weight`.
  public let name: String
  /// Below each other; those of all experts in their order.
  public let parameters: [ParameterDescription]
}

extension Architecture {
  /// What llama.cpp calls the weights of a model of this family; those that no name is known of are left out.
  ///
  /// - Parameter families: among them the one whose names this family shares.
  public func ggufNames(of model: ModelDescription, families: [Architecture]) -> [GGUFTensorName] {
    guard let mapping = gguf?.completed(among: families) else { return [] }
    let layers = model.towers.map(\.layerCount).max() ?? 0
    let experts = (model.parameters.compactMap(\.expert).max() ?? -1) + 1
    var names: [GGUFTensorName] = []
    for (template, variants) in mapping.tensors {
      let numbered = template.placeholders.contains("layer")
      for layer in numbered ? 0..<layers : 0..<1 {
        let own = template.placeholders.contains("expert")
        for expert in own ? 0..<experts : 0..<1 {
          // Which variant holds is for metadata to say; only parameters that the model has can be meant.
          for variant in variants {
            var parameters: [ParameterDescription] = []
            for part in variant.parts {
              let name = part.name.filling("layer", with: layer) + ".weight"
              let filled =
                own || !name.placeholders.contains("expert")
                ? [name.filling("expert", with: expert)] : (0..<experts).map { name.filling("expert", with: $0) }
              parameters += filled.compactMap { model.parameter(named: $0) }
            }
            guard !parameters.isEmpty else { continue }
            let name = template.filling("layer", with: layer).filling("expert", with: expert) + ".weight"
            names.append(GGUFTensorName(name: name, parameters: parameters))
            break
          }
        }
      }
    }
    return names
  }
}
