internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// What a GGUF file says about rotary embedding, as a config says it.
struct GGUFRotary {
  /// The tensors it is written in, which are no parameters.
  static let factorTensors = ["rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"]

  /// The metadata, as formulas see them.
  let metadata: JSON
  /// Values of ``factorTensors``, by name.
  let factors: [String: [Float]]

  var base: Double { metadata["rope.freq_base"]?.number ?? 10000 }

  /// Members of the config, and a warning where they cannot say what the file does.
  func members() -> (config: [(String, JSON)], warning: Problem?) {
    let theta: (String, JSON) = ("rope_theta", metadata["rope.freq_base"] ?? .number(base))
    if let long = factors["rope_factors_long.weight"], let short = factors["rope_factors_short.weight"] {
      return ([theta, ("rope_scaling", longRope(long: long, short: short))], nil)
    }
    if let values = factors["rope_freqs.weight"], values.contains(where: { abs($0 - 1) > 1e-6 }) {
      if let scaling = Llama3Scaling(factors: values, base: base) {
        return ([theta, ("rope_scaling", scaling.json)], nil)
      }
      let warning = Problem(
        .ggufTensor, "the factors of rotary frequencies are those of no rule that a config can name",
        remedy: "Weights can be merged and converted; running the model would be wrong.", tensor: "rope_freqs.weight",
        severity: .warning)
      return ([theta, ("rope_scaling", ["rope_type": "factors"])], warning)
    }
    return ([theta] + (scaling.map { [("rope_scaling", $0)] } ?? []), nil)
  }

  private var scaling: JSON? {
    let type = metadata["rope.scaling.type"]?.string
    let factor = metadata["rope.scaling.factor"] ?? metadata["rope.scale_linear"]
    switch type {
    case "linear": return factor.map { ["type": "linear", "rope_type": "linear", "factor": $0] }
    case "yarn":
      var members: [(String, JSON)] = [("type", "yarn"), ("rope_type", "yarn")]
      let keys = [
        ("factor", "rope.scaling.factor"),
        ("original_max_position_embeddings", "rope.scaling.original_context_length"),
        ("attention_factor", "rope.scaling.yarn_attn_factor"), ("beta_fast", "rope.scaling.yarn_beta_fast"),
        ("beta_slow", "rope.scaling.yarn_beta_slow"),
      ]
      for (name, key) in keys {
        if let value = metadata[key] { members.append((name, value)) }
      }
      return .object(members)
    default: return nil
    }
  }

  /// Two sets of factors (longrope); the factor of attention only where it is not what the lengths give.
  private func longRope(long: [Float], short: [Float]) -> JSON {
    var members: [(String, JSON)] = [
      ("type", "longrope"), ("rope_type", "longrope"), ("long_factor", .array(long.map { .literal("\($0)") })),
      ("short_factor", .array(short.map { .literal("\($0)") })),
    ]
    if let given = metadata["rope.scaling.attn_factor"]?.number,
      let length = metadata["context_length"]?.number,
      let original = metadata["rope.scaling.original_context_length"]?.number, length > 0, original > 1
    {
      let expected =
        length > original ? (1 + Elementary.log(length / original) / Elementary.log(original)).squareRoot() : 1
      if abs(given - expected) > 1e-4 * expected { members.append(("attention_factor", .number(given))) }
    }
    return .object(members)
  }
}

/// The scaling of Llama 3: low frequencies are divided by a factor, high ones kept, those between blended
/// (transformers, `_compute_llama3_parameters`).
///
/// A GGUF file has only the divisors. Three numbers that differ by one common scale give the same, so that one of them
/// is set to what models have.
struct Llama3Scaling: Equatable {
  var factor: Double
  var lowFrequencyFactor = 1.0
  var highFrequencyFactor = 4.0
  var originalLength: Int

  init(
    factor: Double, lowFrequencyFactor: Double = 1, highFrequencyFactor: Double = 4, originalLength: Int
  ) {
    self.factor = factor
    self.lowFrequencyFactor = lowFrequencyFactor
    self.highFrequencyFactor = highFrequencyFactor
    self.originalLength = originalLength
  }

  /// The scaling whose divisors these are; nil if there is none.
  ///
  /// - Parameters:
  ///   - factors: one a rotated pair.
  ///   - base: `rope_theta`.
  init?(factors: [Float], base: Double) {
    guard let most = factors.max(), most > 1, most.isFinite, factors.allSatisfy({ $0 >= 1 - 1e-6 }) else { return nil }
    let factor = Double("\(most)") ?? Double(most)
    func fits(_ scaling: Llama3Scaling) -> Bool { scaling.gives(factors, base: base) }
    // What models have: a power of two for the original length.
    for power in 4...21 {
      let candidate = Llama3Scaling(factor: factor, originalLength: 1 << power)
      if fits(candidate) {
        self = candidate
        return
      }
    }
    // Else from the blended frequencies: blend = a / wavelength - b, with the low factor 1: high = 1 + 1 / b,
    // length = a / b.
    let points = factors.indices.compactMap { index -> (x: Double, blend: Double)? in
      let value = Double(factors[index])
      guard value > 1 + 1e-6, value < factor - 1e-6 else { return nil }
      return (1 / Self.wavelength(index, of: factors.count, base: base), (1 / value - 1 / factor) / (1 - 1 / factor))
    }
    guard let first = points.first, let last = points.last, first.x != last.x else { return nil }
    let a = (first.blend - last.blend) / (first.x - last.x)
    let b = a * first.x - first.blend
    guard a > 0, b > 0, a / b < 1e9 else { return nil }
    let candidate = Llama3Scaling(
      factor: factor, highFrequencyFactor: 1 + 1 / b, originalLength: Int((a / b).rounded()))
    guard fits(candidate) else { return nil }
    self = candidate
  }

  private static func wavelength(_ pair: Int, of count: Int, base: Double) -> Double {
    2 * .pi * Elementary.power(base, Double(pair) / Double(count))
  }

  /// The divisors, one a rotated pair.
  func divisors(count: Int, base: Double) -> [Double] {
    (0..<count).map { pair in
      let wavelength = Self.wavelength(pair, of: count, base: base)
      let length = Double(originalLength)
      if wavelength < length / highFrequencyFactor { return 1 }
      if wavelength > length / lowFrequencyFactor { return factor }
      let blend = (length / wavelength - lowFrequencyFactor) / (highFrequencyFactor - lowFrequencyFactor)
      return 1 / ((1 - blend) / factor + blend)
    }
  }

  private func gives(_ factors: [Float], base: Double) -> Bool {
    zip(divisors(count: factors.count, base: base), factors).allSatisfy { abs($0 - Double($1)) <= 2e-5 * $0 }
  }

  var json: JSON {
    [
      "type": "llama3", "rope_type": "llama3", "factor": .number(factor),
      "low_freq_factor": .number(lowFrequencyFactor), "high_freq_factor": .number(highFrequencyFactor),
      "original_max_position_embeddings": .number(originalLength),
    ]
  }
}
