public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// The table as strict JSON; `Docs/budgets.md` has the layout.
extension SensitivityTable {
  static let format = "espalier-sensitivity"
  static let version = 1

  public var json: JSON {
    var members: [(String, JSON)] = [
      ("format", .string(Self.format)), ("version", .number(Self.version)), ("method", .string(record.method)),
      (
        "parameters",
        .object(record.parameters.sorted { $0.key < $1.key }.map { ($0.key, Self.json($0.value)) })
      ),
      ("norm", .string(record.norm)),
    ]
    if let model = record.model {
      members.append(
        ("model", ["weights": .string(model.weights.description), "config": .string(model.config.description)]))
    }
    if let statistics = record.statistics { members.append(("statistics", .string(statistics.description))) }
    if let effects = record.effects { members.append(("effects", .string(effects))) }
    members.append(("matrices", .array(rows.map(\.json))))
    return .object(members)
  }

  /// - Throws: `json.syntax` for what is no JSON; `sensitivity.format` for another format or version, members that are
  ///   missing, of another type or not known, and as ``init(_:rows:)``. Each names where.
  public init(parsing bytes: [UInt8]) throws(Problem) {
    try self.init(try JSON(parsing: bytes))
  }

  public init(_ json: JSON) throws(Problem) {
    guard json["format"]?.string == Self.format else {
      throw Problem(
        .sensitivityFormat, "the file is no table of sensitivities",
        remedy: "`espalier sensitivity` writes them.")
    }
    guard json["version"]?.integer == Self.version else {
      throw Problem(
        .sensitivityFormat,
        "the table is of version \(json["version"]?.text() ?? "(none)"), and this program reads \(Self.version)")
    }
    var reader = try MemberReader(json, "the table")
    reader.skip("format", "version")
    let method = try reader.take("method", "a text", \.string)
    var parameters: [String: ParameterValue] = [:]
    for (name, value) in try reader.take("parameters", "an object", \.members).pairs {
      guard let known = Self.parameter(value), parameters.updateValue(known, forKey: name) == nil else {
        throw Problem(.sensitivityFormat, "`parameters` has \(value.text()) for `\(name)`")
      }
    }
    let norm = try reader.take("norm", "a text", \.string)
    var model: ModelIdentity?
    if let value = reader.takeIfThere("model") {
      var reader = try MemberReader(value, "`model`")
      model = ModelIdentity(
        weights: try reader.take("weights", "a digest", \.digest),
        config: try reader.take("config", "a digest", \.digest)
      )
      try reader.finish()
    }
    let statistics: Digest? =
      reader.has("statistics") ? try reader.take("statistics", "a digest", \.digest) : nil
    let effects: String? = reader.has("effects") ? try reader.take("effects", "a text", \.string) : nil
    let matrices = try reader.take("matrices", "a list", \.array)
    try reader.finish()
    var rows: [Row] = []
    for (index, matrix) in matrices.enumerated() { rows.append(try Row(matrix, "matrix \(index)")) }
    try self.init(
      Record(
        method: method, parameters: parameters, norm: norm, model: model, statistics: statistics, effects: effects),
      rows: rows)
  }

  private static func json(_ value: ParameterValue) -> JSON {
    switch value {
    case .number(let number): Int(exactly: number).map { .number($0) } ?? .number(number)
    case .flag(let flag): .bool(flag)
    case .word(let word): .string(word)
    }
  }

  private static func parameter(_ json: JSON) -> ParameterValue? {
    json.finite.map(ParameterValue.number) ?? json.bool.map(ParameterValue.flag) ?? json.string.map(ParameterValue.word)
  }
}

extension SensitivityTable.Row {
  fileprivate var json: JSON {
    var members: [(String, JSON)] = [("name", .string(name)), ("shape", .array(shape.map { .number($0) }))]
    if let site { members.append(("site", .string(site))) }
    members += [("dense_bytes", .number(denseBytes)), ("output_energy", .number(outputEnergy))]
    if let effect { members.append(("effect", .number(effect))) }
    members.append(("levels", .array(levels.map(\.json))))
    return .object(members)
  }

  fileprivate init(_ json: JSON, _ place: String) throws(Problem) {
    var reader = try MemberReader(json, place)
    let name = try reader.take("name", "a text", \.string)
    reader.place = "`\(name)`"
    let shape = try reader.take("shape", "a list of whole numbers", \.integers)
    let site: String? = reader.has("site") ? try reader.take("site", "a text", \.string) : nil
    let bytes = try reader.take("dense_bytes", "a whole number", \.integer)
    let energy = try reader.take("output_energy", "a number", \.finite)
    let effect: Double? = reader.has("effect") ? try reader.take("effect", "a number", \.finite) : nil
    let list = try reader.take("levels", "a list", \.array)
    try reader.finish()
    var levels: [SensitivityTable.Level] = []
    for (index, level) in list.enumerated() {
      levels.append(try SensitivityTable.Level(level, "`\(name)`, level \(index)"))
    }
    self.init(
      name: name, shape: shape, site: site, denseBytes: bytes, outputEnergy: energy, effect: effect, levels: levels)
  }
}

extension SensitivityTable.Level {
  fileprivate var json: JSON {
    let size: [(String, JSON)]
    switch budget {
    case .sparsity(let share): size = [("sparsity", .number(share))]
    case .pattern(let keep, let of): size = [("keep", .number(keep)), ("of", .number(of))]
    case .rank(let rank): size = [("rank", .number(rank))]
    case .parameters(let share): size = [("parameters", .number(share))]
    }
    return .object(
      size + [
        ("numbers", .number(numbers)), ("bytes", .number(bytes)), ("relative_error", .number(relativeError)),
        ("kind", .string(kind.rawValue)),
      ])
  }

  fileprivate init(_ json: JSON, _ place: String) throws(Problem) {
    var reader = try MemberReader(json, place)
    let budget: MatrixBudget
    if reader.has("sparsity") {
      budget = .sparsity(try reader.take("sparsity", "a number", \.finite))
    } else if reader.has("keep") {
      budget = .pattern(
        keep: try reader.take("keep", "a whole number", \.integer),
        of: try reader.take("of", "a whole number", \.integer))
    } else if reader.has("rank") {
      budget = .rank(try reader.take("rank", "a whole number", \.integer))
    } else {
      budget = .parameters(try reader.take("parameters", "a number", \.finite))
    }
    self.init(
      budget: budget, numbers: try reader.take("numbers", "a whole number", \.integer),
      bytes: try reader.take("bytes", "a whole number", \.integer),
      relativeError: try reader.take("relative_error", "a number", \.finite),
      kind: try reader.take("kind", "one of exact, bound, estimate, measured", \.certificateKind))
    try reader.finish()
  }
}

/// Takes an object apart: what is missing, of another type or left over is a problem that says where.
private struct MemberReader {
  var place: String
  private var members: JSON.Members

  init(_ json: JSON, _ place: String) throws(Problem) {
    guard let members = json.members else { throw Problem(.sensitivityFormat, "\(place) is no object") }
    self.place = place
    self.members = members
  }

  func has(_ key: String) -> Bool { members[key] != nil }

  mutating func skip(_ keys: String...) { for key in keys { members[key] = nil } }

  mutating func takeIfThere(_ key: String) -> JSON? {
    defer { members[key] = nil }
    return members[key]
  }

  mutating func take<T>(_ key: String, _ kind: String, _ value: (JSON) -> T?) throws(Problem) -> T {
    guard let member = takeIfThere(key) else { throw Problem(.sensitivityFormat, "\(place) has no `\(key)`") }
    guard let value = value(member) else {
      throw Problem(.sensitivityFormat, "`\(key)` of \(place) is not \(kind): \(String(member.text().prefix(80)))")
    }
    return value
  }

  func finish() throws(Problem) {
    guard let key = members.keys.first else { return }
    throw Problem(
      .sensitivityFormat, "\(place) has the member `\(key)`, which is not known",
      remedy: "A newer Espalier wrote this file, or it was changed.")
  }
}

extension JSON {
  fileprivate var finite: Double? { number.flatMap { $0.isFinite ? $0 : nil } }
  fileprivate var digest: Digest? { string.flatMap { Digest($0) } }
  fileprivate var certificateKind: Certificate.Kind? { string.flatMap { Certificate.Kind(rawValue: $0) } }
  fileprivate var integers: [Int]? {
    guard let array else { return nil }
    let integers = array.compactMap(\.integer)
    return integers.count == array.count ? integers : nil
  }
}
