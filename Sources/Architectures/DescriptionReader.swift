public import EspalierBasics

extension Architecture {
  /// Reads a family's description, one of the built-in ones or a user's own.
  ///
  /// - Parameter file: its name, for messages.
  /// - Throws: every mistake at once, each (`architecture.description`) with its place inside the JSON.
  public static func load(parsing json: JSON, file: String) throws(Problems) -> Architecture {
    var reader = DescriptionReader(file: file)
    let architecture = reader.architecture(json)
    guard let architecture, reader.problems.all.isEmpty else { throw reader.problems }
    return architecture
  }
}

/// Turns JSON into a description, noting every mistake with its place instead of stopping at the first.
struct DescriptionReader {
  let file: String
  var problems = Problems()

  init(file: String) { self.file = file }

  mutating func architecture(_ json: JSON) -> Architecture? {
    let keys = [
      "about", "name", "modelTypes", "classes", "defaults", "axes", "include", "towers", "beginnings", "endings",
      "gguf",
    ]
    guard let members = object(json, at: "", keys: keys) else { return nil }
    let name = text(members["name"], at: "name")
    let axes = named(members["axes"], at: "axes") { reader, key, json, path in reader.axis(key, json, path) }
    let architecture = Architecture(
      name: name ?? "", modelTypes: texts(members["modelTypes"], at: "modelTypes"),
      classes: members["classes"].map { texts($0, at: "classes") } ?? [],
      defaults: formulas(members["defaults"], at: "defaults"), axes: axes,
      includes: named(members["include"], at: "include") { reader, key, json, path in reader.include(key, json, path) },
      towers: named(members["towers"], at: "towers") { reader, key, json, path in reader.tower(key, json, path) },
      spellings: Spellings(
        beginnings: alternatives(members["beginnings"], at: "beginnings"),
        endings: alternatives(members["endings"], at: "endings")),
      gguf: members["gguf"].flatMap { ggufMapping($0, at: "gguf") })
    checkReferences(of: architecture)
    return name == nil ? nil : architecture
  }

  private mutating func axis(_ name: String, _ json: JSON, _ path: String) -> AxisTemplate? {
    let keys = ["scope", "size", "writes", "permute", "select"]
    guard let members = object(json, at: path, keys: keys) else { return nil }
    let scope = choice(members["scope"], at: path + ".scope", Axis.Scope.self)
    let size = formula(members["size"], at: path + ".size")
    guard let scope, let size else { return nil }
    var writes = named(members["writes"], at: path + ".writes") { reader, key, json, path in
      reader.formula(json, at: path).map { (key: key, formula: $0) }
    }
    if members["writes"] == nil, let key = size.bareName { writes = [(key, .name(name))] }
    return AxisTemplate(
      name: name, scope: scope, size: size, writes: writes,
      permutation: members["permute"].flatMap { choice($0, at: path + ".permute", Axis.Permutation.self) } ?? .none,
      selection: members["select"].flatMap { choice($0, at: path + ".select", Axis.Selection.self) } ?? .none)
  }

  private mutating func include(_ tower: String, _ json: JSON, _ path: String) -> Include? {
    guard let members = object(json, at: path, keys: ["config", "family", "defaults", "beginnings"]) else { return nil }
    guard let key = text(members["config"], at: path + ".config") else { return nil }
    return Include(
      tower: tower, configKey: key, family: members["family"].flatMap { text($0, at: path + ".family") },
      defaults: formulas(members["defaults"], at: path + ".defaults"),
      spellings: Spellings(beginnings: alternatives(members["beginnings"], at: path + ".beginnings")))
  }

  private mutating func tower(_ name: String, _ json: JSON, _ path: String) -> TowerTemplate? {
    let keys = [
      "when", "repeat", "layers", "kinds", "lists", "blocks", "writes", "before", "layer", "after", "program",
    ]
    guard let members = object(json, at: path, keys: keys) else { return nil }
    let repetition = named(members["repeat"], at: path + ".repeat") { reader, key, json, path in
      reader.formula(json, at: path).map { (variable: key, count: $0) }
    }
    let layerCount = members["layers"].flatMap { formula($0, at: path + ".layers") }
    if members["layer"] != nil, members["layers"] == nil { complain(path, "`layer` without `layers`, their number") }
    let kinds = TowerTemplate.Kinds(
      conditions: named(members["kinds"], at: path + ".kinds") { reader, key, json, path in
        reader.formula(json, at: path).map { (name: key, condition: $0) }
      },
      writes: named(members["writes"], at: path + ".writes") { reader, key, json, path in
        reader.kindsForm(json, path).map { (key: key, form: $0) }
      })
    return TowerTemplate(
      name: name, repetition: repetition.first, condition: members["when"].flatMap { formula($0, at: path + ".when") },
      layerCount: layerCount, kinds: kinds, lists: members["lists"].map { texts($0, at: path + ".lists") } ?? [],
      blocks: named(members["blocks"], at: path + ".blocks") { reader, key, json, path in
        reader.text(json, at: path).map { (name: key, slot: $0) }
      },
      before: parameters(members["before"], at: path + ".before"),
      layer: parameters(members["layer"], at: path + ".layer"),
      after: parameters(members["after"], at: path + ".after"),
      program: members["program"].flatMap { program($0, path + ".program") })
  }

  private mutating func kindsForm(_ json: JSON, _ path: String) -> KindsForm? {
    guard let members = object(json, at: path, keys: ["each", "count", "indices", "constant"]) else { return nil }
    if let values = members["each"]?.members {
      return .each(Dictionary(values.pairs.map { ($0.key, $0.value.string ?? "") }) { first, _ in first })
    }
    if let kind = members["count"]?.string { return .count(kind) }
    if let kind = members["indices"]?.string { return .indices(kind) }
    if let value = members["constant"] { return .constant(value) }
    complain(path, "expected one of `each`, `count`, `indices`, `constant`")
    return nil
  }

  private mutating func parameters(_ json: JSON?, at path: String) -> [ParameterTemplate] {
    // A list holds variants of one name for different configs.
    let variants: [[ParameterTemplate]] = named(json, at: path) { reader, name, json, path in
      guard let variants = json.array else { return [reader.parameter(name, json, path)].compactMap(\.self) }
      return variants.enumerated().compactMap { reader.parameter(name, $1, "\(path)[\($0)]") }
    }
    return variants.flatMap(\.self)
  }

  private mutating func parameter(_ name: String, _ json: JSON, _ path: String) -> ParameterTemplate? {
    let keys = ["role", "shape", "site", "when", "optional", "transposed", "value", "tied", "replaces"]
    guard let members = object(json, at: path, keys: keys) else { return nil }
    let role = text(members["role"], at: path + ".role").flatMap { text in
      Role(parsing: text) ?? complain(path + ".role", "unknown role `\(text)`")
    }
    let shape = texts(members["shape"], at: path + ".shape").enumerated().compactMap { index, source in
      parsed(at: path + ".shape[\(index)]") { () throws(Problem) in try DimensionTemplate(parsing: source) }
    }
    let tie = named(members["tied"], at: path + ".tied") { reader, key, json, path in
      reader.formula(json, at: path).map { (target: key, condition: $0) }
    }
    let value = members["value"].flatMap { choice($0, at: path + ".value", StoredForm.ValueTransform.self) }
    guard let role else { return nil }
    return ParameterTemplate(
      name: name, placeholders: name.placeholders,
      condition: members["when"].flatMap { formula($0, at: path + ".when") },
      isOptional: flag(members["optional"], at: path + ".optional"), dimensions: shape, role: role,
      site: members["site"].flatMap { text($0, at: path + ".site") },
      recipe: StoredForm(
        isTransposed: flag(members["transposed"], at: path + ".transposed"), value: value ?? .identity),
      tie: tie.first, replaces: members["replaces"].map { texts($0, at: path + ".replaces") } ?? [])
  }
}

// MARK: - Pieces of JSON

extension DescriptionReader {
  @discardableResult
  mutating func complain<T>(_ path: String, _ message: String) -> T? {
    problems.add(Problem(.architectureDescription, "at \(path.isEmpty ? "the top" : path): \(message)", file: file))
    return nil
  }

  mutating func complain(_ path: String, _ message: String) {
    let _: Never? = complain(path, message)
  }

  mutating func parsed<T>(at path: String, _ parse: () throws(Problem) -> T) -> T? {
    do { return try parse() } catch { return complain(path, error.message) }
  }

  /// The members of an object whose keys must be among `keys`.
  mutating func object(_ json: JSON?, at path: String, keys: [String]) -> JSON.Members? {
    guard let members = json?.members else { return complain(path, "expected an object") }
    for key in members.keys where !keys.contains(key) {
      complain(path, "unknown key `\(key)`; known are \(keys.map { "`\($0)`" }.joined(separator: ", "))")
    }
    return members
  }

  /// Reads each member of an object that may be absent; what cannot be read is left out.
  mutating func named<T>(
    _ json: JSON?, at path: String, _ read: (inout DescriptionReader, String, JSON, String) -> T?
  ) -> [T] {
    guard let json else { return [] }
    guard let members = json.members else { return complain(path, "expected an object") ?? [] }
    return members.pairs.compactMap { key, value in read(&self, key, value, "\(path).\(key)") }
  }

  mutating func text(_ json: JSON?, at path: String) -> String? {
    json?.string ?? complain(path, "expected a text")
  }

  mutating func texts(_ json: JSON?, at path: String) -> [String] {
    guard let elements = json?.array else { return complain(path, "expected a list of texts") ?? [] }
    return elements.enumerated().compactMap { index, element in text(element, at: "\(path)[\(index)]") }
  }

  mutating func flag(_ json: JSON?, at path: String) -> Bool {
    guard let json else { return false }
    return json.bool ?? complain(path, "expected true or false") ?? false
  }

  mutating func choice<T: RawRepresentable & CaseIterable>(
    _ json: JSON?, at path: String, _ type: T.Type
  ) -> T? where T.RawValue == String {
    if let value = json?.string.flatMap(T.init(rawValue:)) { return value }
    return complain(path, "expected one of \(T.allCases.map { "`\($0.rawValue)`" }.joined(separator: ", "))")
  }

  /// A formula: a text in the language of expressions, or a number, truth value or list as itself.
  mutating func formula(_ json: JSON?, at path: String) -> Expression? {
    guard let json, !json.isNull else { return complain(path, "expected a formula") }
    guard let source = json.string else { return .value(Value(json, name: path)) }
    return parsed(at: path) { () throws(Problem) in try Expression(parsing: source) }
  }

  mutating func formulas(_ json: JSON?, at path: String) -> [String: Expression] {
    let pairs = named(json, at: path) { reader, key, json, path in reader.formula(json, at: path).map { (key, $0) } }
    return Dictionary(pairs) { first, _ in first }
  }

  mutating func alternatives(_ json: JSON?, at path: String) -> [(written: String, alternatives: [String])] {
    named(json, at: path) { reader, key, json, path in
      let alternatives = reader.texts(json, at: path)
      return alternatives.isEmpty ? reader.complain(path, "expected at least one spelling") : (key, alternatives)
    }
  }
}
