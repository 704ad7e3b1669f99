internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// What a config says about rotary embedding, as a GGUF file says it: the inverse of ``GGUFRotary``.
///
/// Two styles of configs are read: `rope_theta` and `rope_scaling`, and `rope_parameters`, which may have a dictionary a
/// layer type.
struct GGUFExportRotary {
  let base: Double
  /// Of layers that see a window; nil where the family has one base.
  let localBase: Double?
  private static let widestHead = 1 << 16
  private let config: JSON
  private let parameters: JSON

  /// - Parameter scope: the config with the family's defaults.
  init(in scope: Scope) throws(Problem) {
    config = scope.config
    let nested = config["rope_parameters"]?["full_attention"]
    let isNested = nested?.members != nil
    var parameters = JSON.object([])
    if let scaling = config["rope_scaling"]?.members, !isNested, !scaling.isEmpty {
      parameters = .object(scaling)
    } else if let given = isNested ? nested : config["rope_parameters"], given.members != nil {
      parameters = given
      for (key, value) in (isNested ? config["rope_scaling"]?.members?.pairs : nil) ?? [] { parameters[key] = value }
    }
    self.parameters = parameters
    let theta = try Self.number("rope_theta", in: scope)
    let local = try Self.number("rope_local_base_freq", in: scope)
    base = parameters["rope_theta"]?.number ?? theta ?? 10000
    localBase = config["rope_parameters"]?["sliding_attention"]?["rope_theta"]?.number ?? local
  }

  private static func number(_ key: String, in scope: Scope) throws(Problem) -> Double? {
    try scope.lookUp(key).json.number
  }

  /// Metadata, without the name of the architecture, and tensors.
  ///
  /// - Parameters:
  ///   - width: the entries of a head that are rotated.
  ///   - allowed: the scalings that llama.cpp knows in the family.
  /// - Throws: `gguf.config` for a scaling that a file cannot say.
  func scaling(
    width: Int, allowed: [String]
  ) throws(Problem) -> (metadata: [(key: String, value: GGUFTypedValue)], tensors: [(name: String, values: [Float])]) {
    let written = parameters["rope_type"]?.string ?? parameters["type"]?.string ?? "default"
    // Phi 3 calls its scaling so in early configs.
    let isLong = ["su", "longrope"].contains(written) || written == "yarn" && parameters["long_factor"] != nil
    let type = isLong ? "longrope" : written
    guard type != "default" else { return ([], []) }
    guard allowed.contains(type) else {
      throw Problem(
        .ggufConfig, "rotary scaling of type `\(written)` is not what llama.cpp computes for this family",
        remedy: allowed.isEmpty ? nil : "It computes \(allowed.joined(separator: ", ")).")
    }
    guard (1...Self.widestHead).contains(width) else {
      throw Problem(.ggufConfig, "\(width) entries of a head cannot be rotated")
    }
    switch type {
    case "linear":
      return ([("rope.scaling.type", .text("linear")), ("rope.scaling.factor", .f32(Float(try factor())))], [])
    case "yarn": return (try yarn(), [])
    case "llama3":
      let scaling = Llama3Scaling(
        factor: try required("factor"), lowFrequencyFactor: try required("low_freq_factor"),
        highFrequencyFactor: try required("high_freq_factor"), originalLength: try originalLength())
      let divisors = scaling.divisors(count: (width + 1) / 2, base: base)
      return ([], [("rope_freqs.weight", divisors.map { Float($0) })])
    case "longrope": return try longRope(pairs: (width + 1) / 2)
    default: throw Problem(.ggufConfig, "rotary scaling of type `\(written)` cannot be written")
    }
  }

  private func yarn() throws(Problem) -> [(key: String, value: GGUFTypedValue)] {
    let factor = try factor()
    let amplitude = factor <= 1 ? 1 : 0.1 * Elementary.log(factor) + 1
    let given = parameters["attention_factor"]?.number
    // llama.cpp has one amplitude for a factor.
    guard given.map({ abs($0 - amplitude) <= 1e-5 * amplitude }) ?? true, parameters["truncate"]?.bool ?? true,
      parameters["mscale"]?.number ?? 0 == 0 || parameters["mscale_all_dim"]?.number ?? 0 == 0
    else {
      throw Problem(
        .ggufConfig, "llama.cpp computes rotary scaling of type `yarn` without `attention_factor`, `mscale`, `truncate`"
      )
    }
    var metadata: [(key: String, value: GGUFTypedValue)] = [
      ("rope.scaling.type", .text("yarn")), ("rope.scaling.factor", .f32(Float(factor))),
      ("rope.scaling.original_context_length", .u32(UInt32(clamping: try originalLength()))),
    ]
    let optional = [
      ("attention_factor", "rope.scaling.yarn_attn_factor"), ("beta_fast", "rope.scaling.yarn_beta_fast"),
      ("beta_slow", "rope.scaling.yarn_beta_slow"),
    ]
    for (name, key) in optional {
      if let value = parameters[name]?.number { metadata.append((key, .f32(Float(value)))) }
    }
    return metadata
  }

  /// Each pair divided by a factor of its own, others for long sequences (Ding et al. 2024).
  private func longRope(
    pairs: Int
  ) throws(Problem) -> (metadata: [(key: String, value: GGUFTypedValue)], tensors: [(name: String, values: [Float])]) {
    var tensors: [(name: String, values: [Float])] = []
    for length in ["long", "short"] {
      let values = parameters["\(length)_factor"]?.array?.compactMap(\.number) ?? []
      guard values.count == pairs, values.allSatisfy({ $0 > 0 }) else {
        throw Problem(.ggufConfig, "`\(length)_factor` of the rotary scaling should be \(pairs) positive numbers")
      }
      tensors.append(("rope_factors_\(length).weight", values.map { Float($0) }))
    }
    var amplitude = parameters["attention_factor"]?.number
    if amplitude == nil {
      let (factor, trained) = (try factor(), Double(try originalLength()))
      guard trained > 1 else {
        throw Problem(.ggufConfig, "a model was trained on more than \(Int(trained)) positions")
      }
      amplitude = factor <= 1 ? 1 : (1 + Elementary.log(factor) / Elementary.log(trained)).squareRoot()
    }
    return ([("rope.scaling.attn_factor", .f32(Float(amplitude ?? 1)))], tensors)
  }

  private func required(_ key: String) throws(Problem) -> Double {
    guard let number = parameters[key]?.number, number > 0 else {
      throw Problem(.ggufConfig, "the rotary scaling lacks `\(key)`")
    }
    return number
  }

  /// The ratio of lengths where the config gives no factor.
  private func factor() throws(Problem) -> Double {
    if parameters["factor"]?.number != nil { return try required("factor") }
    return Double(try length(config["max_position_embeddings"])) / Double(try originalLength())
  }

  private func originalLength() throws(Problem) -> Int {
    let key = "original_max_position_embeddings"
    return try length(
      [config[key], parameters[key], config["max_position_embeddings"]].compactMap(\.self).first { !$0.isNull })
  }

  private func length(_ json: JSON?) throws(Problem) -> Int {
    guard let number = json?.number.flatMap({ Int(exactly: $0) }), number > 0 else {
      throw Problem(.ggufConfig, "the config lacks the lengths that its rotary scaling needs")
    }
    return number
  }
}
