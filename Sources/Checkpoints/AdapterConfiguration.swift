public import EspalierBasics

extension Problem.Code {
  public static let adapterConfiguration = Problem.Code("adapter.config")
  public static let adapterTensor = Problem.Code("adapter.tensor")
  public static let adapterBase = Problem.Code("adapter.base")
  public static let adapterValue = Problem.Code("adapter.value")
}

/// What `adapter_config.json` of PEFT (format of version 0.21) says about the weights.
///
/// Options that change the merged weights in ways this version does not compute are errors that name them, and so are
/// options that are not known, unless they are off (null, false or empty).
public struct AdapterConfiguration: Sendable {
  public enum Method: String, Sendable {
    case lora = "LORA"
    case ia3 = "IA3"
  }

  public let method: Method
  /// Things that hold only under a condition this program cannot check.
  public let warnings: [Problem]

  let usesDoRA: Bool
  let fanInFanOut: Bool
  private let modulesToSave: [String]
  private let rank: Int
  private let alpha: Double
  private let usesRankStabilization: Bool
  private let rankPattern: [(ModuleSuffix, Int)]
  private let alphaPattern: [(ModuleSuffix, Double)]
  private let target: ModuleSelection
  private let excluded: ModuleSelection
  private let feedforward: ModuleSelection

  /// - Throws: every problem found.
  public init(_ json: JSON) throws(Problems) {
    var problems = Problems()
    let reader = OptionReader(json)
    guard json.members != nil else {
      throw Problems([Problem(.adapterConfiguration, "the adapter's configuration is not an object")])
    }
    guard let type = json["peft_type"]?.string, let method = Method(rawValue: type) else {
      let found = json["peft_type"]?.text() ?? "none"
      throw Problems([
        Problem(
          .adapterConfiguration, "the adapter's peft_type is \(found); LORA (with DoRA, rsLoRA) and IA3 are supported")
      ])
    }
    self.method = method
    func collect<T>(_ fallback: T, _ body: () throws(Problem) -> T) -> T { problems.collect(body) ?? fallback }

    usesDoRA = collect(false) { () throws(Problem) in try reader.flag("use_dora") }
    usesRankStabilization = collect(false) { () throws(Problem) in try reader.flag("use_rslora") }
    fanInFanOut = collect(false) { () throws(Problem) in try reader.flag("fan_in_fan_out") }
    modulesToSave = collect([]) { () throws(Problem) in try reader.names("modules_to_save") }
    rank = collect(1) { () throws(Problem) in method == .lora ? try reader.rank() : 1 }
    alpha = collect(1) { () throws(Problem) in method == .lora ? try reader.alpha() : 1 }
    rankPattern = collect([]) { () throws(Problem) in
      try reader.patterns("rank_pattern", OptionReader.positiveInteger)
    }
    alphaPattern = collect([]) { () throws(Problem) in
      try reader.patterns("alpha_pattern", OptionReader.finiteNumber)
    }
    target = collect(.all) { () throws(Problem) in try reader.target() }
    excluded = collect(.none) { () throws(Problem) in try reader.selection("exclude_modules") ?? .none }
    feedforward = collect(.none) { () throws(Problem) in try reader.selection("feedforward_modules") ?? .none }
    problems.all += reader.refusals()
    guard problems.all.isEmpty else { throw problems }
    warnings = reader.initializationWarning().map { [$0] } ?? []
  }

  /// Reads `adapter_config.json` in a folder.
  init(in folder: String) throws(Problems) {
    let path = "\(folder)/adapter_config.json"
    let json: JSON
    do { json = try JSON(parsing: try FileSystem.read(path, limit: 16 << 20)) } catch {
      throw Problems([error.at(file: path)])
    }
    do { try self.init(json) } catch { throw Problems(error.all.map { $0.at(file: path) }) }
  }

  /// Whether the adapter is meant to change a module (its path in the base model).
  func targets(_ module: String) -> Bool { target.contains(module) && !excluded.contains(module) }

  /// Whether a module, or one it belongs to, was trained in full (`modules_to_save`).
  func savesInFull(_ module: String) -> Bool { modulesToSave.contains { ".\(module).".contains(".\($0).") } }

  /// Whether IA3 scales a module's inputs rather than its outputs.
  func isFeedforward(_ module: String) -> Bool { feedforward.contains(module) }

  /// The rank of a module's factors.
  func rank(of module: String) -> Int { rankPattern.first { $0.0.matches(module) }?.1 ?? rank }

  /// What BA is multiplied by: `alpha / r`, or `alpha / sqrt(r)` when rank-stabilized (Kalajdzievski 2023,
  /// arXiv:2312.03732).
  func scale(of module: String) -> Float {
    let rank = Double(rank(of: module))
    let alpha = alphaPattern.first { $0.0.matches(module) }?.1 ?? alpha
    return Float(usesRankStabilization ? alpha / rank.squareRoot() : alpha / rank)
  }
}

/// Typed access to the options, with errors that name them.
private struct OptionReader {
  let json: JSON

  init(_ json: JSON) { self.json = json }

  private func wrong(_ name: String, _ expected: String) -> Problem {
    Problem(.adapterConfiguration, "\(name) is \(json[name]?.text() ?? "missing"); \(expected) was expected")
  }

  /// The option, unless it is missing or null.
  private func value(_ name: String) -> JSON? {
    guard let value = json[name], !value.isNull else { return nil }
    return value
  }

  func flag(_ name: String) throws(Problem) -> Bool {
    guard let value = value(name) else { return false }
    guard let flag = value.bool else { throw wrong(name, "true or false") }
    return flag
  }

  func names(_ name: String) throws(Problem) -> [String] {
    guard let value = value(name) else { return [] }
    if let single = value.string { return [single] }
    let names = value.array?.compactMap(\.string)
    guard let names, names.count == value.array?.count else { throw wrong(name, "a list of names") }
    return names
  }

  func rank() throws(Problem) -> Int {
    // PEFT's defaults.
    guard let value = value("r") else { return 8 }
    guard let rank = Self.positiveInteger(value) else { throw wrong("r", "a whole number from 1") }
    return rank
  }

  func alpha() throws(Problem) -> Double {
    guard let value = value("lora_alpha") else { return 8 }
    guard let alpha = Self.finiteNumber(value) else { throw wrong("lora_alpha", "a number") }
    return alpha
  }

  static func positiveInteger(_ json: JSON) -> Int? { json.integer.flatMap { $0 > 0 ? $0 : nil } }
  static func finiteNumber(_ json: JSON) -> Double? { json.number.flatMap { $0.isFinite ? $0 : nil } }

  func patterns<T>(_ name: String, _ interpret: (JSON) -> T?) throws(Problem) -> [(ModuleSuffix, T)] {
    guard let value = value(name) else { return [] }
    guard let members = value.members else { throw wrong(name, "an object") }
    var patterns: [(ModuleSuffix, T)] = []
    for (pattern, json) in members.pairs {
      guard let value = interpret(json) else { throw wrong(name, "numbers in it") }
      patterns.append((try ModuleSuffix(pattern), value))
    }
    return patterns
  }

  /// A list of names, or a pattern; nil if the option is not given.
  func selection(_ name: String, layers: LayerSelection? = nil) throws(Problem) -> ModuleSelection? {
    guard let value = value(name) else { return nil }
    if let pattern = value.string { return .matching(try RegularExpression(pattern)) }
    return .named(try names(name), layers: layers)
  }

  func target() throws(Problem) -> ModuleSelection {
    if value("target_modules")?.string == "all-linear" { return .all }
    return try selection("target_modules", layers: try layers()) ?? .all
  }

  private func layers() throws(Problem) -> LayerSelection? {
    guard let value = value("layers_to_transform") else { return nil }
    let indices = (value.array ?? [value]).map(\.integer)
    guard !indices.contains(nil) else { throw wrong("layers_to_transform", "a whole number or a list of them") }
    guard !indices.isEmpty else { return nil }
    return try LayerSelection(indices: Set(indices.compactMap { $0 }), patterns: try names("layers_pattern"))
  }

  /// Options that must be off, and what they would do.
  private static let unsupported = [
    "ensure_weight_tying": "trains the output head and the embedding as one",
    "layer_replication": "repeats layers of the base",
    "target_parameters": "adapts parameters that are no module's weight",
    "trainable_token_indices": "trains single rows of the embedding",
    "lora_bias": "adds a bias beside the low-rank factors",
    "alora_invocation_tokens": "adapts only part of a text, so it cannot be merged into weights",
    "arrow_config": "routes between adapters token by token, so it cannot be merged into weights",
    "use_qalora": "pools inputs by groups",
    "use_bdlora": "has block-diagonal factors",
    "kasa_config": "changes the base and the factors",
    "monteclora_config": "has random factors",
    "velora_config": "has further factors",
  ]

  /// Options that are read here, or say nothing about the merged weights.
  private static let known: Set<String> = [
    "peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern", "target_modules",
    "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out", "bias", "modules_to_save",
    "feedforward_modules", "init_lora_weights", "init_ia3_weights",
    "base_model_name_or_path", "task_type", "revision", "inference_mode", "peft_version", "auto_mapping",
    "lora_dropout", "megatron_config", "megatron_core", "qalora_group_size", "runtime_config", "loftq_config",
    "eva_config", "corda_config", "lora_ga_config",
  ]

  func refusals() -> [Problem] {
    var problems: [Problem] = []
    for (name, value) in json.members?.pairs ?? [] where !Self.isOff(value) {
      if let effect = Self.unsupported[name] {
        problems.append(Problem(.adapterConfiguration, "\(name) is not supported: it \(effect)"))
      } else if !Self.known.contains(name) {
        problems.append(
          Problem(
            .adapterConfiguration, "the option \(name) is not known, so what it does to the weights is not either",
            remedy: "If it does nothing to the merged weights, remove it from the file."))
      }
    }
    if let bias = value("bias"), !["none", "all", "lora_only"].contains(bias.string) {
      problems.append(wrong("bias", "none, all or lora_only"))
    }
    return problems
  }

  private static func isOff(_ value: JSON) -> Bool {
    value.isNull || value.bool == false || value.array?.isEmpty == true || value.members?.isEmpty == true
  }

  /// Some initializations replace the base's weights by what the factors leave of them.
  func initializationWarning() -> Problem? {
    guard let name = value("init_lora_weights")?.string?.lowercased(),
      !["gaussian", "orthogonal", "eva"].contains(name)
    else { return nil }
    return Problem(
      .adapterBase, "the factors were initialized by \(name), which may change the base's weights too",
      remedy: "Use the base as it was after that initialization, or an adapter converted to plain LoRA.",
      severity: .warning)
  }
}
