/// How a stored tensor differs from the parameter the network means.
public struct StoredForm: Sendable, Hashable {
  /// From the stored to the canonical value, element by element.
  public enum ValueTransform: String, Sendable, Hashable, CaseIterable {
    case identity
    /// Stored is the scale of a norm minus one (Gemma): canonical = 1 + stored.
    case plusOne
    /// Stored is the logarithm of a decay rate (Mamba's `A_log`): canonical = -exp(stored).
    case negativeExponential
  }

  /// The last two dimensions are stored as `[in, out]` where the canonical layout is `[out, in]` (GPT-2's Conv1D).
  public let isTransposed: Bool
  public let value: ValueTransform

  public init(isTransposed: Bool = false, value: ValueTransform = .identity) {
    self.isTransposed = isTransposed
    self.value = value
  }

  public static let direct = StoredForm()
}

/// One tensor of a model: how it is named and shaped in a checkpoint, and what it means.
public struct ParameterDescription: Sendable, Hashable {
  /// Where in its tower a parameter stands. When layers are rearranged, what stands before them goes with the first
  /// layer, what stands after them with the last.
  public enum Position: Sendable, Hashable {
    case beforeLayers
    case inLayer(Int)
    case afterLayers
  }

  /// The tower, as in ``ModelDescription/towers``.
  public let tower: String
  public let position: Position
  /// The kind of its layer in a pattern (`sliding`, `sparse`), nil outside layers or where all layers are alike.
  public let layerKind: String?
  /// The expert it belongs to, where every expert has a tensor of its own.
  public let expert: Int?
  public let role: Role
  /// One entry a stored dimension.
  public let dimensions: [Dimension]
  /// The sizes of ``dimensions``: the stored shape.
  public let shape: [Int]
  public let recipe: StoredForm
  /// The checkpoint is complete without it (tied, a buffer, or another layout of the same parameters).
  public let isOptional: Bool
  /// The name of the parameter it shares its value with when the config ties the two.
  public let tiedTo: String?
  /// Names the activations that enter this map: parameters of one site share one set of input statistics. Nil for
  /// what multiplies nothing, such as embeddings and norms.
  public let inputSite: String?
  /// Names of the parameters this one stores in another layout, e.g. all experts stacked: present are either they
  /// or this.
  public let replaces: [String]
  /// What it is called in the family's description, with `{layer}`, `{expert}` and the like left open. Within a tower,
  /// parameters of one such name mean the same of different layers and experts.
  public let familyName: String
  /// The canonical name and its other spellings, with `{layer}` where the layer's number stands.
  let templates: [String]

  /// The canonical name, e.g. `model.layers.3.self_attn.q_proj.weight`.
  public var name: String { name(inLayer: layer ?? 0) }
  /// Other names under which checkpoints store the same tensor.
  public var aliases: [String] { Array(names.dropFirst()) }
  /// The canonical name with `{layer}` in place of the layer's number.
  public var template: String { templates[0] }

  /// The number of its layer, nil outside layers.
  public var layer: Int? { if case .inLayer(let layer) = position { layer } else { nil } }

  /// The dimension that is indexed by tokens, nil if there is none.
  public var vocabularyDimension: Int? {
    dimensions.firstIndex { dimension in
      if case .axis(let axis) = dimension { axis.isVocabulary } else { false }
    }
  }

  /// The name of the same parameter in layer `layer` of its tower; its own name outside layers.
  ///
  /// - Parameter spelling: one of its names; the answer follows the same spelling. Nil means the canonical one.
  public func name(inLayer layer: Int, spelling: String? = nil) -> String {
    let chosen = spelling.flatMap { names.firstIndex(of: $0) } ?? 0
    return templates[chosen].filling("layer", with: layer)
  }

  /// The template of one of its spellings; the canonical one if the name is none of them.
  public func template(spelling: String) -> String { names.firstIndex(of: spelling).map { templates[$0] } ?? template }

  /// The canonical name, then all others.
  public var names: [String] {
    guard let layer else { return templates }
    return templates.map { $0.filling("layer", with: layer) }
  }
}

extension Axis {
  /// The axis of tokens is called `vocabulary` in every description.
  public var isVocabulary: Bool { name == "vocabulary" || name.hasSuffix(".vocabulary") }
}
