internal import EspalierBasics

/// How GGUF files spell a family: what they call its tensors, and where they keep what its config says.
///
/// A GGUF file has the values and layouts that a network computes with; how the family's own checkpoints differ from
/// them (transposed, one less, logarithms) is in its description already, and is undone from there.
struct GGUFMapping: Sendable {
  /// `general.architecture` of the files.
  var architecture: String
  /// Tells families apart that share an architecture: a formula over the metadata.
  var condition: Expression?
  /// A family whose mapping this one shares, as far as it does not say otherwise itself.
  var like: String?
  /// Whether `rope_theta` and `rope_scaling` are to be read by the rules that families share.
  var isRotary: Bool
  /// Members of the config.
  var config: [(key: String, value: ConfigTemplate)]
  /// What becomes of tensors, by the file's name with `{layer}` and `{expert}` for numbers, with or without `.weight`
  /// and `.bias`.
  var tensors: [(name: String, variants: [GGUFTensorTarget])]
  /// How files of models of uneven layers say what they are; nil if they cannot.
  var layers: GGUFLayers?
  /// How files of the family are written; nil if they are not.
  var writing: GGUFWriting?

  /// The mapping with what it leaves to another family filled in.
  func completed(among families: [Architecture]) -> GGUFMapping {
    guard let other = families.first(where: { $0.name == like })?.gguf, other.like == nil else { return self }
    var whole = self
    whole.config = other.config.filter { entry in !config.contains { $0.key == entry.key } } + config
    whole.tensors = other.tensors.filter { entry in !tensors.contains { $0.name == entry.name } } + tensors
    if let writing, let shared = other.writing { whole.writing = writing.completed(by: shared) }
    return whole
  }
}

/// What a stored tensor is to the family.
struct GGUFTensorTarget: Sendable {
  /// A parameter among those that a tensor holds.
  struct Part: Sendable {
    /// With `{expert}`, where the file's name has none, one parameter an expert.
    var name: String
    var rows: RowGroups?
  }

  /// Rows in another order than the family's: nested groups, slowest first, with their sizes (nil: what is left), as
  /// the family counts them; and their names as the file nests them.
  struct RowGroups: Sendable {
    var groups: [(name: String, size: Expression?)]
    var stored: [String]
  }

  var condition: Expression?
  /// Side by side along the first dimension.
  var parts: [Part]
}

/// A member of a config before the metadata is known.
indirect enum ConfigTemplate: Sendable {
  /// Left out where the metadata lack what the formula reads.
  case formula(Expression)
  case constant(JSON)
  case object(condition: Expression?, [(key: String, value: ConfigTemplate)])
  /// The first whose condition holds.
  case variants([ConfigTemplate])

  /// The value; nil if it is to be left out.
  func value(in scope: Scope) throws(Problem) -> JSON? {
    switch self {
    case .constant(let json): return json
    case .formula(let formula): return try Self.value(of: formula, in: scope)
    case .object(let condition, let members):
      if let condition, try !condition.truth(in: scope) { return nil }
      var pairs: [(String, JSON)] = []
      for (key, template) in members {
        if let value = try template.value(in: scope) { pairs.append((key, value)) }
      }
      return .object(pairs)
    case .variants(let variants):
      for variant in variants {
        if let value = try variant.value(in: scope) { return value }
      }
      return nil
    }
  }

  /// What is carried over as it is keeps its digits: `5.0` does not become `5`.
  private static func value(of formula: Expression, in scope: Scope) throws(Problem) -> JSON? {
    switch formula {
    case .name(let name):
      if scope.variables[name] == nil, let json = scope.config.value(at: name), !json.isNull { return json }
    case .binary(.otherwise, let first, let second):
      if let value = try value(of: first, in: scope) { return value }
      return try value(of: second, in: scope)
    default: break
    }
    let value = try formula.evaluate(in: scope)
    if case .absent = value { return nil }
    return value.json
  }
}

// MARK: - Reading

extension DescriptionReader {
  /// The `gguf` section of a description.
  mutating func ggufMapping(_ json: JSON, at path: String) -> GGUFMapping? {
    let keys = ["architecture", "when", "like", "rotary", "config", "tensors", "layers", "writes"]
    guard let members = object(json, at: path, keys: keys) else { return nil }
    guard let architecture = text(members["architecture"], at: path + ".architecture") else { return nil }
    return GGUFMapping(
      architecture: architecture, condition: members["when"].flatMap { formula($0, at: path + ".when") },
      like: members["like"].flatMap { text($0, at: path + ".like") },
      isRotary: flag(members["rotary"], at: path + ".rotary"),
      config: configMembers(members["config"], at: path + ".config"),
      tensors: named(members["tensors"], at: path + ".tensors") { reader, name, json, path in
        let variants = json.array ?? [json]
        return (name, variants.compactMap { reader.ggufTarget($0, at: path) })
      }, layers: members["layers"].flatMap { ggufLayers($0, at: path + ".layers") },
      writing: members["writes"].flatMap { ggufWriting($0, at: path + ".writes") })
  }

  private mutating func configMembers(_ json: JSON?, at path: String) -> [(key: String, value: ConfigTemplate)] {
    named(json, at: path) { reader, key, json, path in
      reader.configTemplate(json, at: path).map { (key: key, value: $0) }
    }
  }

  private mutating func configTemplate(_ json: JSON, at path: String) -> ConfigTemplate? {
    switch json {
    case .string: return formula(json, at: path).map { .formula($0) }
    case .array(let elements) where !elements.isEmpty && elements.allSatisfy({ $0.members != nil }):
      return .variants(
        elements.enumerated().compactMap { index, element in configTemplate(element, at: "\(path)[\(index)]") })
    case .object(let members):
      var others = members
      others["when"] = nil
      return .object(
        condition: members["when"].flatMap { formula($0, at: path + ".when") },
        configMembers(.object(others), at: path))
    default: return .constant(json)
    }
  }

  private mutating func ggufTarget(_ json: JSON, at path: String) -> GGUFTensorTarget? {
    if let name = json.string { return GGUFTensorTarget(parts: [.init(name: name)]) }
    guard let members = object(json, at: path, keys: ["when", "name", "names", "rows", "stored"]) else { return nil }
    let condition = members["when"].flatMap { formula($0, at: path + ".when") }
    guard let names = members["names"]?.array else {
      return ggufPart(members, at: path).map { GGUFTensorTarget(condition: condition, parts: [$0]) }
    }
    let parts = names.enumerated().compactMap { index, json -> GGUFTensorTarget.Part? in
      if let name = json.string { return .init(name: name) }
      let path = "\(path).names[\(index)]"
      return object(json, at: path, keys: ["name", "rows", "stored"]).flatMap { ggufPart($0, at: path) }
    }
    if names.isEmpty { complain(path + ".names", "expected at least one name") }
    return GGUFTensorTarget(condition: condition, parts: parts)
  }

  private mutating func ggufPart(_ members: JSON.Members, at path: String) -> GGUFTensorTarget.Part? {
    guard let name = text(members["name"], at: path + ".name") else { return nil }
    guard members["rows"] != nil else { return .init(name: name) }
    let groups: [(name: String, size: Expression?)] = named(members["rows"], at: path + ".rows") {
      reader, name, json, path in
      json.string == "*" ? (name, nil) : reader.formula(json, at: path).map { (name, $0) }
    }
    let stored = texts(members["stored"], at: path + ".stored")
    if stored.sorted() != groups.map(\.name).sorted() || groups.filter({ $0.size == nil }).count > 1 {
      complain(path, "`stored` must name every group of `rows` once, and one group at most be `*`")
    }
    return .init(name: name, rows: .init(groups: groups, stored: stored))
  }
}
