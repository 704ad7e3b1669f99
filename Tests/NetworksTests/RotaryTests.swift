import EspalierArchitectures
import EspalierBasics
import EspalierNumerics
import Testing

@testable import EspalierNetworks

/// Rotary frequencies by hand, and how configs of both styles are read.
@Suite struct RotaryTests {
  private func read(_ config: JSON, width: Int = 8, theta: Double = 10_000, entry: String? = nil) throws
    -> RotaryFrequencies
  {
    try RotaryFrequencies(config: config, width: width, theta: theta, entry: entry)
  }

  private func close(_ a: [Double], _ b: [Double]) -> Bool {
    a.count == b.count && zip(a, b).allSatisfy { abs($0 - $1) <= 1e-12 * abs($1) }
  }

  @Test func plainFrequencies() throws {
    let plain = try read([:])
    #expect(close(plain.radians(length: 5), [1, 0.1, 0.01, 0.001]))
    #expect(plain.amplitude == 1)
    // An odd width is rotated with its neighbour.
    #expect(close(try read([:], width: 3, theta: 8).radians(length: 1), [1, 0.25]))
  }

  @Test func bothStylesOfConfigsAreRead() throws {
    let old: JSON = ["rope_scaling": ["type": "linear", "factor": 4.0]]
    let new: JSON = ["rope_parameters": ["rope_type": "linear", "factor": 4, "rope_theta": 10000.0]]
    #expect(try read(old) == read(new, theta: 7))
    #expect(close(try read(old).radians(length: 1), [0.25, 0.025, 0.0025, 0.00025]))
    #expect(try read(["rope_scaling": nil, "rope_parameters": ["rope_theta": 100]]).theta == 100)
  }

  @Test func layerTypesHaveTheirOwn() throws {
    let config: JSON = [
      "rope_parameters": [
        "full_attention": ["rope_type": "linear", "factor": 2, "rope_theta": 50],
        "sliding_attention": ["rope_type": "default", "rope_theta": 20],
      ]
    ]
    #expect(try read(config, entry: "full_attention").scaling == .linear(factor: 2))
    #expect(try read(config, entry: "sliding_attention").theta == 20)
    let old: JSON = ["rope_scaling": ["rope_type": "linear", "factor": 8]]
    #expect(try read(old, entry: "full_attention").scaling == .linear(factor: 8))
    #expect(try read(old, entry: "sliding_attention").scaling == .none)
  }

  /// Turns over the trained length: 16 (kept), 1.6 and 0.16 with a ramp from 1 to 4, 0.016 (divided).
  @Test func llama3KeepsFastTurnsAndSlowsTheOthers() throws {
    let trained = Int((16 * 2 * Double.pi).rounded())
    let found = try read([
      "rope_scaling": [
        "rope_type": "llama3", "factor": 8, "low_freq_factor": 1, "high_freq_factor": 4,
        "original_max_position_embeddings": .number(trained),
      ]
    ]).radians(length: 1)
    let turns = Double(trained) * 0.1 / (2 * Double.pi)
    let smooth = (turns - 1) / 3
    #expect(close(found, [1, (1 - smooth) * 0.1 / 8 + smooth * 0.1, 0.01 / 8, 0.001 / 8]))
  }

  @Test func dynamicGrowsWithTheSequence() throws {
    let config: JSON = ["max_position_embeddings": 10, "rope_scaling": ["type": "dynamic", "factor": 3.0]]
    let found = try read(config)
    #expect(close(found.radians(length: 10), [1, 0.1, 0.01, 0.001]))
    // base * (3 * 20 / 10 - 2)^(8 / 6)
    let base = 10_000 * Elementary.power(4, 8.0 / 6)
    #expect(close(found.radians(length: 20), (0..<4).map { Elementary.power(base, -Double($0) / 4) }))
    #expect(found.regime(length: 3) == found.regime(length: 10))
    #expect(found.regime(length: 11) != found.regime(length: 12))
  }

  @Test func yarnDividesSlowTurnsAndAmplifies() throws {
    let config: JSON = [
      "rope_scaling": ["rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 32]
    ]
    let found = try read(config)
    // Entry d turns 32 times at 8 ln(32 / 64 pi) / (2 ln 10^4) < 0, once at 0.71: a ramp from 0 to 1.
    #expect(close(found.radians(length: 1), [1, 0.1 / 4, 0.01 / 4, 0.001 / 4]))
    #expect(abs(found.amplitude - (0.1 * Elementary.log(4) + 1)) < 1e-12)
  }

  @Test func longropeChangesWithTheLength() throws {
    let config: JSON = [
      "original_max_position_embeddings": 16, "max_position_embeddings": 64,
      "rope_scaling": ["type": "su", "short_factor": [1, 1, 2, 2], "long_factor": [4, 4, 8, 8]],
    ]
    let found = try read(config)
    #expect(close(found.radians(length: 16), [1, 0.1, 0.005, 0.0005]))
    #expect(close(found.radians(length: 17), [0.25, 0.025, 0.00125, 0.000125]))
    #expect(abs(found.amplitude * found.amplitude - 1.5) < 1e-12)
    #expect(found.regime(length: 16) != found.regime(length: 17))
  }

  @Test(
    arguments: [
      (["rope_scaling": ["type": "spiral"]], "architecture.unsupported", "spiral"),
      (["rope_scaling": ["type": "linear"]], "architecture.config", "factor"),
      (["rope_scaling": ["type": "linear", "factor": 0]], "architecture.config", "factor"),
      (["rope_scaling": ["type": "linear", "factor": "2"]], "architecture.config", "factor"),
      (["rope_scaling": ["type": "dynamic", "factor": 2]], "architecture.config", "max_position_embeddings"),
      (["rope_scaling": ["type": "longrope"], "max_position_embeddings": 8], "architecture.config", "short_factor"),
      (["rope_parameters": ["rope_theta": -1]], "architecture.config", "impossible"),
    ] as [(JSON, String, String)])
  func whatCannotBeReadIsNamed(config: JSON, code: String, part: String) throws {
    let problem = #expect(throws: Problem.self) { try read(config) }
    #expect(problem?.code.rawValue == code)
    #expect(problem?.message.contains(part) ?? false, "\(problem?.message ?? "")")
  }
}
