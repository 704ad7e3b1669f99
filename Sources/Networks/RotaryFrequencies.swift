internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierNumerics

/// The angles by which rotary embedding turns pairs of entries, a step of position (Su et al. 2021), and what published
/// models do to them so as to reach further than they were trained.
///
/// Entry i of the pairs turns by `theta^(-2 i / width)` radians a position before scaling. An odd width is rotated with
/// the entry after it.
struct RotaryFrequencies: Sendable, Hashable {
  enum Scaling: Sendable, Hashable {
    case none
    /// Positions divided by a factor (Chen et al. 2023).
    case linear(factor: Double)
    /// The base grows with the sequence beyond `limit` positions (bloc97 2023).
    case dynamic(factor: Double, limit: Int)
    /// Low frequencies are divided, high ones kept, a ramp in between (Peng et al. 2023); `from` and `to` are the ends
    /// of the ramp, in entries.
    case yarn(factor: Double, from: Double, to: Double)
    /// The same by wavelength against the trained length (Llama 3.1).
    case llama3(factor: Double, low: Double, high: Double, trained: Double)
    /// Each entry divided by a factor of its own, others for sequences longer than `limit` (Ding et al. 2024).
    case longrope(short: [Double], long: [Double], limit: Int)
  }

  let theta: Double
  /// The entries of a head that are rotated, by the config.
  let width: Int
  let scaling: Scaling
  /// Cosine and sine are multiplied by it (YaRN and LongRoPE).
  let amplitude: Double

  var pairs: Int { (width + 1) / 2 }

  /// Sequences of one regime share their frequencies. A sequence that grows into another regime has to be computed
  /// anew, since its keys were turned by other angles.
  func regime(length: Int) -> Int {
    switch scaling {
    case .dynamic(_, let limit): max(length, limit)
    case .longrope(_, _, let limit): length > limit ? 1 : 0
    default: 0
    }
  }

  /// Radians a position, for a sequence that reaches `length` positions.
  func radians(length: Int) -> [Double] {
    let width = Double(width)
    func plain(_ base: Double) -> [Double] {
      (0..<pairs).map { Elementary.power(base, -Double(2 * $0) / width) }
    }
    switch scaling {
    case .none: return plain(theta)
    case .linear(let factor): return plain(theta).map { $0 / factor }
    case .dynamic(let factor, let limit):
      let stretch = factor * Double(max(length, limit)) / Double(limit) - (factor - 1)
      return plain(theta * Elementary.power(stretch, width / (width - 2)))
    case .yarn(let factor, let from, let to):
      return plain(theta).enumerated().map { index, angle in
        let ramp = min(1, max(0, (Double(index) - from) / (to - from)))
        return angle / factor * ramp + angle * (1 - ramp)
      }
    case .llama3(let factor, let low, let high, let trained):
      return plain(theta).map { angle in
        let turns = trained * angle / (2 * Double.pi)
        if turns < low { return angle / factor }
        if turns > high { return angle }
        let smooth = (turns - low) / (high - low)
        return (1 - smooth) * angle / factor + smooth * angle
      }
    case .longrope(let short, let long, let limit):
      let factors = length > limit ? long : short
      return zip(plain(theta), factors).map { $0 / $1 }
    }
  }
}

// MARK: - Reading configs

extension RotaryFrequencies {
  /// What a config says in `rope_parameters` (new style), or in `rope_scaling` and `rope_theta` (old style).
  ///
  /// - Parameters:
  ///   - width: the entries of a head that are rotated.
  ///   - theta: the base where neither dictionary has one.
  ///   - entry: the layer type whose dictionary inside `rope_parameters` is meant (Gemma 3), nil for one that holds for
  ///     all layers.
  ///   - alias: a type that means another in this family, `["yarn": "longrope"]`.
  /// - Throws: `architecture.config` for missing or impossible numbers, `architecture.unsupported` for a type that is
  ///   not known.
  init(config: JSON, width: Int, theta: Double, entry: String?, alias: [String: String] = [:]) throws(Problem) {
    let reader = RotaryReader(config, entry: entry)
    guard width > 0 else { throw Problem(.architectureConfig, "rotary embedding of \(width) entries") }
    self.width = width
    self.theta = try reader.number("rope_theta") ?? theta
    let written = reader["rope_type"]?.string ?? reader["type"]?.string ?? "default"
    let type = alias[written] ?? written
    var amplitude = 1.0
    switch type {
    case "default": scaling = .none
    case "linear": scaling = .linear(factor: try reader.required("factor"))
    case "dynamic":
      guard width > 2 else { throw Problem(.architectureConfig, "dynamic rotary scaling needs more than one pair") }
      scaling = .dynamic(factor: try reader.required("factor"), limit: try reader.longest())
    case "llama3":
      scaling = .llama3(
        factor: try reader.required("factor"), low: try reader.required("low_freq_factor"),
        high: try reader.required("high_freq_factor"), trained: Double(try reader.trained()))
    case "yarn": (scaling, amplitude) = try reader.yarn(theta: self.theta, width: width)
    case "longrope", "su": (scaling, amplitude) = try reader.longrope(pairs: (width + 1) / 2)
    default:
      throw Problem(
        .architectureUnsupported, "the config asks for rotary scaling of type `\(written)`, which is not known",
        remedy: "Known are default, linear, dynamic, yarn, longrope and llama3.")
    }
    self.amplitude = amplitude
    guard self.theta > 0, radians(length: 1).allSatisfy(\.isFinite), amplitude.isFinite else {
      throw Problem(.architectureConfig, "the config's rotary embedding (\(type)) has impossible numbers")
    }
  }
}

/// Looks up what a config says about rotary embedding.
private struct RotaryReader {
  let config: JSON
  let parameters: JSON
  let isNested: Bool

  init(_ config: JSON, entry: String?) {
    self.config = config
    isNested = entry != nil
    var parameters = JSON.object([])
    func add(_ json: JSON?) {
      for (key, value) in json?.members?.pairs ?? [] { parameters[key] = value }
    }
    if let entry {
      add(config["rope_parameters"]?[entry])
      if entry == "full_attention" { add(config["rope_scaling"]) }
    } else if let scaling = config["rope_scaling"]?.members, !scaling.isEmpty {
      add(config["rope_scaling"])
    } else {
      add(config["rope_parameters"])
    }
    self.parameters = parameters
  }

  subscript(key: String) -> JSON? {
    guard let value = parameters[key], !value.isNull else { return nil }
    return value
  }

  func number(_ key: String) throws(Problem) -> Double? {
    guard let value = self[key] else { return nil }
    guard let number = value.number else {
      throw Problem(.architectureConfig, "`\(key)` of the rotary embedding should be a number, but is \(value.text())")
    }
    return number
  }

  func required(_ key: String) throws(Problem) -> Double {
    guard let number = try number(key) else {
      throw Problem(.architectureConfig, "the config's rotary embedding lacks `\(key)`")
    }
    guard number > 0 else { throw Problem(.architectureConfig, "`\(key)` of the rotary embedding is \(number)") }
    return number
  }

  private func positive(_ value: JSON?, _ key: String) throws(Problem) -> Int {
    guard let number = value?.number.flatMap({ Int(exactly: $0) }), number > 0 else {
      throw Problem(.architectureConfig, "the config lacks `\(key)`, which its rotary embedding needs")
    }
    return number
  }

  /// The longest sequence the config allows.
  func longest() throws(Problem) -> Int { try positive(config["max_position_embeddings"], "max_position_embeddings") }

  /// The length the model was trained on, before scaling.
  func trained() throws(Problem) -> Int {
    let key = "original_max_position_embeddings"
    if !isNested, let outside = config[key], !outside.isNull { return try positive(outside, key) }
    if let inside = self[key] { return try positive(inside, key) }
    return try longest()
  }

  /// The ratio of lengths where the config gives no factor.
  private func factor() throws(Problem) -> Double {
    if let factor = try number("factor") { return factor }
    return Double(try longest()) / Double(try trained())
  }

  func yarn(theta: Double, width: Int) throws(Problem) -> (RotaryFrequencies.Scaling, amplitude: Double) {
    let factor = try factor()
    func amplitude(_ weight: Double) -> Double { factor <= 1 ? 1 : 0.1 * weight * Elementary.log(factor) + 1 }
    let trained = Double(try trained())
    // The entry that turns so many times over the trained length.
    func entry(turns: Double) -> Double {
      Double(width) * Elementary.log(trained / (turns * 2 * .pi)) / (2 * Elementary.log(theta))
    }
    func nonzero(_ key: String, _ otherwise: Double) throws(Problem) -> Double {
      let value = try number(key) ?? 0
      return value == 0 ? otherwise : value
    }
    var from = entry(turns: try nonzero("beta_fast", 32))
    var to = entry(turns: try nonzero("beta_slow", 1))
    if self["truncate"]?.bool ?? true { (from, to) = (from.rounded(.down), to.rounded(.up)) }
    (from, to) = (max(from, 0), min(to, Double(width - 1)))
    // A ramp of no width is made a steep one.
    if from == to { to += 0.001 }
    let scaling = RotaryFrequencies.Scaling.yarn(factor: factor, from: from, to: to)
    if let given = try number("attention_factor") { return (scaling, given) }
    let (own, all) = (try nonzero("mscale", 0), try nonzero("mscale_all_dim", 0))
    return (scaling, own != 0 && all != 0 ? amplitude(own) / amplitude(all) : amplitude(1))
  }

  func longrope(pairs: Int) throws(Problem) -> (RotaryFrequencies.Scaling, amplitude: Double) {
    func factors(_ key: String) throws(Problem) -> [Double] {
      let found = self[key]?.array?.compactMap(\.number) ?? []
      guard found.count == pairs, found.allSatisfy({ $0 > 0 }) else {
        throw Problem(.architectureConfig, "`\(key)` of the rotary embedding should be \(pairs) positive numbers")
      }
      return found
    }
    let trained = try trained()
    let scaling = RotaryFrequencies.Scaling.longrope(
      short: try factors("short_factor"), long: try factors("long_factor"), limit: trained)
    if let given = try number("attention_factor") { return (scaling, given) }
    let factor = try factor()
    let growth = 1 + Elementary.log(factor) / Elementary.log(Double(trained))
    return (scaling, factor <= 1 ? 1 : growth.squareRoot())
  }
}
