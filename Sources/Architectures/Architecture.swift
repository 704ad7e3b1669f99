public import EspalierBasics

/// A family of models as data: how its config and its parameters are to be understood.
///
/// The language of the descriptions is documented in `Docs/architectures.md`.
public struct Architecture: Sendable {
  /// The name of the family, e.g. `llama`.
  public let name: String
  /// The `model_type` of configs that belong to the family.
  public let modelTypes: [String]
  /// The `architectures` of configs that belong to it, for configs without `model_type`.
  public let classes: [String]

  /// What a config key means when the config does not have it; also names for formulas used more than once.
  let defaults: [String: Expression]
  let axes: [AxisTemplate]
  let includes: [Include]
  let towers: [TowerTemplate]
  let spellings: Spellings
  /// How GGUF files spell the family; nil if they do not know it.
  let gguf: GGUFMapping?

  /// The family whose `model_type`, or else whose class, the config names; nil if none of `families` does.
  ///
  /// The caller then merges parameter by parameter: an unknown family is no error.
  public static func recognise(config: JSON, among families: [Architecture]) -> Architecture? {
    if let type = config["model_type"]?.string { return families.first { $0.modelTypes.contains(type) } }
    let classes = (config["architectures"]?.array ?? []).compactMap(\.string)
    return families.first { family in classes.contains { family.classes.contains($0) } }
  }
}

extension Architecture: CustomStringConvertible {
  public var description: String { "architecture \(name)" }
}

/// An axis before its size is known.
struct AxisTemplate: Sendable {
  var name: String
  var scope: Axis.Scope
  var size: Expression
  /// The inverse of `size`: config keys with formulas over the sizes of axes.
  var writes: [(key: String, formula: Expression)]
  var permutation: Axis.Permutation
  var selection: Axis.Selection
}

/// A stack of layers before their number is known.
struct TowerTemplate: Sendable {
  /// What one layer of a pattern is, and how a pattern is written back.
  struct Kinds: Sendable {
    /// The first kind whose condition holds for a layer is its kind.
    var conditions: [(name: String, condition: Expression)] = []
    var writes: [(key: String, form: KindsForm)] = []
  }

  var name: String
  /// A tower a value: the variable that counts them and their number (the stages of ResNet).
  var repetition: (variable: String, count: Expression)?
  /// Whether models of this config have the tower at all.
  var condition: Expression?
  var layerCount: Expression?
  var kinds: Kinds
  /// Config keys of lists with an entry a layer.
  var lists: [String]
  /// What a layer can do without, each with the slot that it adds to the stream.
  var blocks: [(name: String, slot: String)]
  var before: [ParameterTemplate]
  var layer: [ParameterTemplate]
  var after: [ParameterTemplate]
  /// What the tower computes; nil if it can only be merged.
  var program: ProgramTemplate?
}

/// How the kinds of all layers are stored under one config key.
enum KindsForm: Sendable {
  /// A list with an entry a layer.
  case each([String: String])
  /// The number of layers of a kind, which must all come first.
  case count(String)
  /// The numbers of the layers of a kind.
  case indices(String)
  /// Always this value: switches off a pattern that another key overrides.
  case constant(JSON)
}

/// A parameter of every layer, or expert, before they are counted.
struct ParameterTemplate: Sendable {
  var name: String
  /// What is left open in the name: `layer`, `expert`, the variable of a repeated tower.
  var placeholders: [String]
  var condition: Expression?
  var isOptional: Bool
  var dimensions: [DimensionTemplate]
  var role: Role
  var site: String?
  var recipe: StoredForm
  var tie: (target: String, condition: Expression)?
  var replaces: [String]
}

/// Another family as part of this one: the text or vision tower of a multimodal model.
struct Include: Sendable {
  var tower: String
  /// The config key under which that family's config stands.
  var configKey: String
  /// The family where the nested config does not name one.
  var family: String?
  var defaults: [String: Expression]
  var spellings: Spellings
}

/// The ways a name may be written: alternatives for how it begins and for how it ends.
struct Spellings: Sendable {
  var beginnings: [(written: String, alternatives: [String])] = []
  var endings: [(written: String, alternatives: [String])] = []

  /// All spellings of `name`, the canonical one first. The first rule whose beginning fits is applied, and the first
  /// whose ending does.
  func all(of name: String) -> [String] {
    var names = [name]
    if let rule = beginnings.first(where: { name.hasPrefix($0.written) }) {
      names = rule.alternatives.map { $0 + name.dropFirst(rule.written.count) }
    }
    if let rule = endings.first(where: { name.hasSuffix($0.written) }) {
      names = names.flatMap { start in rule.alternatives.map { start.dropLast(rule.written.count) + $0 } }
    }
    return names
  }
}
