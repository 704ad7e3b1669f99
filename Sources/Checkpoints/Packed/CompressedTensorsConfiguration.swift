internal import EspalierBasics
internal import EspalierNumerics

/// The section that compressed-tensors writes: groups of modules, each with how its weights are quantized.
///
///     {"quant_method": "compressed-tensors", "format": "pack-quantized", "ignore": ["lm_head"],
///      "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "int",
///        "symmetric": true, "strategy": "group", "group_size": 128}}}}
struct CompressedTensorsConfiguration {
  enum Format: String {
    case pack = "pack-quantized"
    case int = "int-quantized"
    case float = "float-quantized"
    case naive = "naive-quantized"
  }

  /// What shares a scale.
  enum Strategy {
    case tensor, channel
    case group(Int)
    case block(rows: Int, columns: Int)
  }

  struct Group {
    var name: String
    var targets: [String]
    /// Compiled targets of the form `re:PATTERN`.
    var patterns: [RegularExpression]
    var format: Format
    var bits: Int
    var isFloat: Bool
    var isSymmetric: Bool
    var strategy: Strategy
  }

  var groups: [Group] = []
  /// Names of modules that are not quantized though a target means them.
  var ignored: [String] = []
  var ignoredPatterns: [RegularExpression] = []
  /// Whether tensors beside the weights say how attention's cache is quantized.
  var quantizesCache = false

  /// - Returns: nil if weights are stored plainly, or with problems.
  init?(_ section: JSON, problems: inout Problems, warnings: inout [Problem]) {
    let before = problems.all.count
    func refuse(_ message: String) { problems.add(Problem(.checkpointPacked, message)) }
    let format = section["format"]?.string
    if let sparse = section["sparsity_config"]?["format"]?.string, !sparse.isSame(as: "dense") {
      refuse("weights are stored in the sparse format \"\(sparse)\", which is not read")
    }
    if let transform = section["transform_config"], transform.members.map({ !$0.isEmpty }) ?? !transform.isNull {
      refuse("inputs of the weights are transformed (`transform_config`), which is not read")
    }
    if let cache = section["kv_cache_scheme"], !cache.isNull {
      quantizesCache = true
      warnings.append(
        Problem(
          .checkpointPacked, "the config has keys and values quantized as they are cached; they are not here",
          severity: .warning))
    }
    for name in section["ignore"]?.array ?? [] {
      guard let name = name.string else { continue }
      ignored.append(name)
      if let pattern = Self.pattern(name, problems: &problems) { ignoredPatterns.append(pattern) }
    }
    for (name, json) in section["config_groups"]?.members?.pairs ?? [] {
      if let group = Group(name, json, overall: format, problems: &problems) { groups.append(group) }
      if let inputs = json["input_activations"], !inputs.isNull, !warnings.contains(where: Self.isOfInputs) {
        warnings.append(Self.inputsAreNotQuantized)
      }
    }
    if let format, groups.isEmpty, problems.all.count == before, !format.isSame(as: "dense") {
      refuse("the config names the format \"\(format)\" and no groups of weights in it")
    }
    guard problems.all.count == before, !groups.isEmpty else { return nil }
  }

  private static let inputsAreNotQuantized = Problem(
    .checkpointPacked, "the config has inputs of layers quantized as they come; weights alone are quantized here",
    severity: .warning)
  private static func isOfInputs(_ problem: Problem) -> Bool { problem == inputsAreNotQuantized }

  /// The group that a module belongs to: named by a target, then meant by a pattern, then by its class, which a file does
  /// not tell; quantized matrices are linear layers before they are anything else.
  ///
  /// - Throws: `checkpoint.packed` if no group means the module, or the config says that it is not quantized.
  func group(of module: String) throws(Problem) -> Group {
    if ignored.contains(where: { ExactString($0) == ExactString(module) })
      || ignoredPatterns.contains(where: { $0.matches(module) })
    {
      throw Problem(.checkpointPacked, "the module is quantized, and the config says that it is not (`ignore`)")
    }
    if let group = groups.first(where: { $0.targets.contains { ExactString($0) == ExactString(module) } }) {
      return group
    }
    if let group = groups.first(where: { $0.patterns.contains { $0.matches(module) } }) { return group }
    let classes = groups.filter { $0.targets.contains { !$0.contains(".") && !$0.hasPrefix("re:") } }
    if let linear = classes.first(where: { $0.targets.contains("Linear") }) { return linear }
    guard classes.count == 1 else {
      throw Problem(.checkpointPacked, "the module is quantized, and no group of the config means it")
    }
    return classes[0]
  }

  /// The pattern of `re:PATTERN`, which is matched from the beginning of a name on.
  static func pattern(_ target: String, problems: inout Problems) -> RegularExpression? {
    guard target.hasPrefix("re:") else { return nil }
    do throws(Problem) { return try RegularExpression("(?:\(target.dropFirst(3))).*") } catch {
      problems.add(Problem(.checkpointPacked, error.message, remedy: error.remedy))
      return nil
    }
  }
}

extension CompressedTensorsConfiguration.Group {
  fileprivate init?(_ name: String, _ json: JSON, overall: String?, problems: inout Problems) {
    let before = problems.all.count
    func refuse(_ message: String) {
      problems.add(Problem(.checkpointPacked, "the quantization group \"\(name)\" \(message)"))
    }
    self.name = name
    targets = (json["targets"]?.array ?? []).compactMap(\.string)
    patterns = []
    for target in targets {
      if let pattern = CompressedTensorsConfiguration.pattern(target, problems: &problems) { patterns.append(pattern) }
    }
    let text = json["format"]?.string ?? overall ?? "(none)"
    if text.isSame(as: "dense") { return nil }
    guard let weights = json["weights"], weights.members != nil else {
      refuse(
        json["input_activations"].map { !$0.isNull } ?? false
          ? "quantizes inputs and no weights, which is not read" : "does not say how weights are quantized")
      return nil
    }
    let known = CompressedTensorsConfiguration.Format(rawValue: text)
    if known == nil {
      refuse("is in the format \"\(text)\"; pack-, int-, float- and naive-quantized are read")
    }
    format = known ?? .naive
    bits = weights["num_bits"]?.integer ?? 8
    isFloat = weights["type"]?.string?.isSame(as: "float") ?? false
    isSymmetric = weights["symmetric"]?.bool ?? true
    strategy = .tensor
    if known != nil {
      if isFloat ? bits != 8 || format == .pack || format == .int : !(1...8).contains(bits) || format == .float {
        refuse("has \(isFloat ? "floats" : "integers") of \(bits) bits in the format \"\(text)\", which is not read")
      }
      if let strategy = Self.strategy(weights, refuse) { self.strategy = strategy }
    }
    guard problems.all.count == before else { return nil }
  }

  /// `strategy`; where there is none, `group_size` tells it.
  private static func strategy(
    _ weights: JSON, _ refuse: (String) -> Void
  ) -> CompressedTensorsConfiguration.Strategy? {
    let size = weights["group_size"]?.integer
    let inferred = size.map { $0 == -1 ? "channel" : "group" } ?? "tensor"
    switch weights["strategy"]?.string?.lowercased() ?? inferred {
    case "tensor": return .tensor
    case "channel": return .channel
    case "group":
      if let size, size > 0 { return .group(size) }
      if size == -1 { return .channel }
      refuse("has groups of \(weights["group_size"]?.text() ?? "(none)") columns")
    case "block":
      let sizes = (weights["block_structure"]?.array ?? []).compactMap(\.integer)
      if sizes.count == 2, sizes.allSatisfy({ $0 > 0 }) { return .block(rows: sizes[0], columns: sizes[1]) }
      // The older spelling.
      let parts = weights["block_structure"]?.string?.split(separator: "x").compactMap { Int($0) } ?? []
      if parts.count == 2, parts.allSatisfy({ $0 > 0 }) { return .block(rows: parts[0], columns: parts[1]) }
      refuse("has blocks of \(weights["block_structure"]?.text() ?? "(none)")")
    case let other: refuse("shares scales by \"\(other)\"; tensor, channel, group and block are read")
    }
    return nil
  }
}
