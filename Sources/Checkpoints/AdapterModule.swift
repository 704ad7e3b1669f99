internal import EspalierBasics
internal import EspalierNumerics

/// What an adapter file holds for one module of the base model.
struct AdapterModule {
  /// Path of the module in the base model, as the adapter was trained on it: `model.layers.0.self_attn.q_proj`.
  let path: String
  private(set) var parts: [Part: StoredTensor] = [:]
  /// Tensors saved in full, by the last component of their names (`weight`, `bias`).
  private(set) var wholes: [(suffix: String, tensor: StoredTensor)] = []

  enum Part: String, CaseIterable {
    case a = "lora_A.weight"
    case b = "lora_B.weight"
    case embeddingA = "lora_embedding_A"
    case embeddingB = "lora_embedding_B"
    case magnitude = "lora_magnitude_vector"
    case ia3 = "ia3_l"
  }

  private init(path: String) { self.path = path }

  /// Every tensor of an adapter file, put to its module; modules in the order of their paths.
  static func modules(of tensors: [StoredTensor], problems: inout Problems) -> [AdapterModule] {
    var modules: [ExactString: AdapterModule] = [:]
    for tensor in tensors {
      guard tensor.elementType.isFloat else {
        problems.add(
          Problem(
            .adapterTensor, "the adapter stores the tensor as \(tensor.elementType.safetensorsName)",
            tensor: tensor.name))
        continue
      }
      guard let (path, place) = parse(tensor.name) else {
        problems.add(
          Problem(
            .adapterTensor, "the name is not that of a part of an adapter (LoRA, DoRA, IA3) as PEFT saves them",
            tensor: tensor.name))
        continue
      }
      if !modules[ExactString(path), default: AdapterModule(path: path)].put(tensor, at: place) {
        problems.add(Problem(.adapterTensor, "the adapter has this part of the module twice", tensor: tensor.name))
      }
    }
    return modules.values.sorted { SafetensorsCheckpoint.precedes($0.path, $1.path) }
  }

  private enum Place {
    case part(Part)
    case whole(suffix: String)
  }

  private mutating func put(_ tensor: StoredTensor, at place: Place) -> Bool {
    switch place {
    case .part(let part): return parts.updateValue(tensor, forKey: part) == nil
    case .whole(let suffix):
      defer { wholes.append((suffix, tensor)) }
      return !wholes.contains { $0.suffix == suffix }
    }
  }

  /// The module's path and the tensor's place in it, or nil if the name follows none of PEFT's forms.
  private static func parse(_ name: String) -> (path: String, place: Place)? {
    let prefix = "base_model.model."
    guard name.hasPrefix(prefix) else { return nil }
    var rest = String(name.dropFirst(prefix.count))
    // The magnitude was a module of its own for a while.
    if rest.hasSuffix(".lora_magnitude_vector.weight") { rest.removeLast(".weight".count) }
    for part in Part.allCases where rest.hasSuffix(".\(part.rawValue)") {
      return (String(rest.dropLast(part.rawValue.count + 1)), .part(part))
    }
    var components = rest.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
    guard !components.contains(where: { $0.hasPrefix("lora_") || $0.hasPrefix("ia3_") }) else { return nil }
    // Names of the wrappers that PEFT puts around a module.
    components.removeAll { $0 == "base_layer" || $0 == "modules_to_save" }
    guard components.count >= 2, let suffix = components.popLast() else { return nil }
    return (components.joined(separator: "."), .whole(suffix: suffix))
  }
}
