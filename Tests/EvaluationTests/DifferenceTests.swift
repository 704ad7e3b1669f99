import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierEvaluation

@Suite struct DifferenceTests {
  private func difference(
    _ a: [TestTensor], _ b: [TestTensor], base: [TestTensor]? = nil, config: JSON? = nil,
    options: MeasurementOptions = MeasurementOptions(threads: 2)
  ) throws -> ModelDifference {
    try withTemporaryFolder { folder in
      try ModelDifference(
        from: model(a, named: "a", config: config, in: folder), to: model(b, named: "b", config: config, in: folder),
        base: base.map { try model($0, named: "base", config: config, in: folder) }, options: options)
    }
  }

  @Test func changesByHand() throws {
    // A = (3, 4, 0, 0), B = (3, 0, 4, 0.001): B - A = (0, -4, 4, 0.001).
    let found = try difference(
      [TestTensor("w", [4], [3, 4, 0, 0])], [TestTensor("w", [4], [3, 0, 4, 0.001])])
    let change = found.tensors[0].change
    let small = Double(Float(0.001))
    #expect(change.elementCount == 4 && change.changedCount == 3 && change.changedFraction == 0.75)
    #expect(change.largest == 4)
    #expect(change.nearZeroCount == 2 && change.nearZeroFraction == 0.5)
    #expect(change.relativeChange == (32 + small * small).squareRoot() / 5)
    #expect(change.cosine == 9 / (5 * (25 + small * small).squareRoot()))
    #expect(found.tensors[0].conflict == nil && found.tensors[0].spectrum == nil)
  }

  @Test func conflictsByHand() throws {
    // Updates (1, -2, 0, 3) and (1, 2, 5, -3): three elements change in both, two of them in opposite directions.
    let found = try difference(
      [TestTensor("w", [4], [11, 8, 10, 13])], [TestTensor("w", [4], [11, 12, 15, 7])],
      base: [TestTensor("w", [4], [10, 10, 10, 10])])
    let conflict = try #require(found.tensors[0].conflict)
    #expect(conflict.bothCount == 3 && conflict.opposedCount == 2)
    #expect(conflict.opposedFraction == 0.5 && conflict.opposedShare == 2.0 / 3)
    #expect(conflict.cosine == (1.0 - 4 - 9) / (14.0.squareRoot() * 39.0.squareRoot()))
    #expect(found.tensors[0].change.squaredNorm == 0 + 16 + 25 + 36)
  }

  @Test func equalModelsDoNotDiffer() throws {
    var random = SeededGenerator(seed: 3)
    let tensors = [TestTensor("w", [50, 70], random.floats(3500)), TestTensor("zero", [3], [0, -0.0, 0])]
    let found = try difference(tensors, tensors, options: MeasurementOptions(spectra: true, threads: 1))
    for tensor in found.tensors {
      #expect(tensor.change.relativeChange == 0 && tensor.change.changedCount == 0 && tensor.change.largest == 0)
      #expect(tensor.change.nearZeroFraction == 1)
    }
    #expect(abs((found.tensors[0].change.cosine ?? .nan) - 1) < 1e-15)
    #expect(found.tensors[1].change.cosine == nil)
    let spectrum = try found.tensors[0].spectrum?.get()
    #expect(spectrum?.energyRank99 == 0)
  }

  /// From nothing to something is an infinite relative change, which JSON writes as null.
  @Test func aChangeFromZeroIsInfinite() throws {
    let found = try difference([TestTensor("w", [1], [0])], [TestTensor("w", [1], [1])])
    #expect(found.tensors[0].change.relativeChange == .infinity)
    #expect(found.json["tensors"]?[0]?["relative_change"] == .null)
    #expect(found.text(glyphs: .ascii).contains("inf  ####################"))
  }

  @Test func nonFiniteElementsAreCountedAndLeftOut() throws {
    let found = try difference(
      [TestTensor("w", [5], [1, .nan, 2, .infinity, 0])], [TestTensor("w", [5], [1, 5, .nan, .infinity, 2])],
      base: [TestTensor("w", [5], [0, 0, 0, 0, -.infinity])])
    let change = found.tensors[0].change
    // The base is damaged where nothing else is: the element is left out of all three.
    #expect(change.nonFiniteCount == 4 && change.changedCount == 0 && change.squaredNormA == 1)
    #expect(found.tensors[0].conflict?.bothCount == 1)
    #expect(found.text().contains("damaged: w holds 4 elements that are NaN or infinite; they are left out"))
  }

  @Test func whatCannotBeComparedIsReported() throws {
    let found = try difference(
      [
        TestTensor("a", [2], [1, 2]), TestTensor("shape", [2, 3], [0, 0, 0, 0, 0, 0]), TestTensor("type", [1], [1]),
        TestTensor("base", [1], [1]),
      ],
      [
        TestTensor("b", [2], [1, 2]), TestTensor("shape", [3, 2], [0, 0, 0, 0, 0, 0]),
        TestTensor("type", [1], [1.5], .bf16), TestTensor("base", [1], [1]),
      ], base: [TestTensor("base", [2], [1, 1]), TestTensor("type", [1], [1])])
    #expect(found.onlyInA == ["a"] && found.onlyInB == ["b"])
    #expect(found.mismatches == [.init(name: "shape", shapeA: [2, 3], shapeB: [3, 2])])
    #expect(found.tensors.map(\.name) == ["base", "type"])
    #expect(found.retyped.map(\.name) == ["type"] && found.tensors[1].change.relativeChange == 0.5)
    #expect(found.notInBase == ["base"] && found.tensors[0].conflict == nil && found.tensors[1].conflict != nil)
    #expect(found.text().contains("not compared: shape is 2x3 in A, 3x2 in B\n"))
    #expect(found.text().contains("types differ: type is f32 in A, bf16 in B\n"))
  }

  @Test func modelsWithNothingInCommonAreStillReported() throws {
    let found = try difference([TestTensor("a", [1], [1])], [TestTensor("b", [1], [1])])
    #expect(found.tensors.isEmpty && found.layers.isEmpty && found.total.tensorCount == 0)
    #expect(found.text().contains("0 of 0 compared tensors changed\n\nonly in A: a\nonly in B: b\n"))
  }

  /// One family, two spellings: `model.norm.weight` and `norm.weight` are one parameter.
  @Test func spellingsOfAFamilyAreMatched() throws {
    let llama: JSON = [
      "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": 2, "intermediate_size": 6,
      "num_hidden_layers": 1, "num_attention_heads": 1, "vocab_size": 5,
    ]
    let found = try difference(
      [TestTensor("model.norm.weight", [2], [1, 0])], [TestTensor("norm.weight", [2], [1, 1])], config: llama)
    #expect(found.tensors.map(\.name) == ["model.norm.weight"] && found.onlyInB == [])
    #expect(found.tensors[0].place.role == "norm" && found.layers.map(\.name) == ["after layers"])
    #expect(found.tensors[0].change.relativeChange == 1)
  }

  /// An update of rank one, exact in float32.
  @Test func theSpectrumIsThatOfTheUpdate() throws {
    var random = SeededGenerator(seed: 5)
    let base = (0..<20 * 30).map { _ in Float(Int.random(in: -100...100, using: &random)) }
    let tuned = base.enumerated().map { $1 + Float(($0 / 30 - 9) * ($0 % 30 - 14)) }
    let found = try difference(
      [TestTensor("w", [20, 30], base), TestTensor("v", [600], base)],
      [TestTensor("w", [20, 30], tuned), TestTensor("v", [600], tuned)],
      options: MeasurementOptions(spectra: true, threads: 2))
    let rows = (0..<20).reduce(0) { $0 + ($1 - 9) * ($1 - 9) }
    let columns = (0..<30).reduce(0) { $0 + ($1 - 14) * ($1 - 14) }
    let spectrum = try #require(try found.tensors.first { $0.name == "w" }?.spectrum?.get())
    #expect(abs(spectrum.largest / Double(rows * columns).squareRoot() - 1) < 1e-13)
    #expect(spectrum.energyRank99 == 1 && abs(spectrum.stableRank - 1) < 1e-13)
    #expect(found.tensors.first { $0.name == "v" }?.spectrum == nil)
  }

  /// Against plain loops in float64; groups are sums of their tensors.
  @Test(arguments: [UInt64](1...4)) func figuresFollowTheirDefinitions(_ seed: UInt64) throws {
    var random = SeededGenerator(seed: seed)
    let count = 4096 * 5 + 123
    let base = random.floats(count)
    let a = base.map { Bool.random(using: &random) ? $0 + Float.random(in: -0.1...0.1, using: &random) : $0 }
    let b = base.map { Bool.random(using: &random) ? $0 + Float.random(in: -0.1...0.1, using: &random) : $0 }
    func tensors(_ values: [Float]) -> [TestTensor] {
      [TestTensor("l.0.w", [100], Array(values.prefix(100))), TestTensor("l.0.v", [count], values)]
    }
    let found = try difference(tensors(a), tensors(b), base: tensors(base))
    let delta = zip(a, b).map { $1 - $0 }
    let (ua, ub) = (zip(a, base).map { $0 - $1 }, zip(b, base).map { $0 - $1 })
    func dot(_ x: [Float], _ y: [Float]) -> Double { zip(x, y).reduce(0) { $0 + Double($1.0) * Double($1.1) } }
    func near(_ x: Double?, _ y: Double) -> Bool { abs((x ?? .nan) - y) <= 1e-13 * abs(y) + 1e-15 }
    let tensor = try #require(found.tensors.first { $0.name == "l.0.v" })
    #expect(near(tensor.change.relativeChange, (dot(delta, delta) / dot(a, a)).squareRoot()), "seed \(seed)")
    #expect(near(tensor.change.cosine, dot(a, b) / (dot(a, a) * dot(b, b)).squareRoot()), "seed \(seed)")
    #expect(tensor.change.largest == delta.map(abs).max(), "seed \(seed)")
    #expect(tensor.change.changedCount == delta.count { $0 != 0 }, "seed \(seed)")
    #expect(tensor.change.nearZeroCount == delta.count { abs($0) < 1e-3 * tensor.change.largest }, "seed \(seed)")
    let conflict = try #require(tensor.conflict)
    #expect(conflict.bothCount == zip(ua, ub).count { $0 != 0 && $1 != 0 }, "seed \(seed)")
    #expect(conflict.opposedCount == zip(ua, ub).count { $0 * $1 < 0 }, "seed \(seed)")
    #expect(near(conflict.cosine, dot(ua, ub) / (dot(ua, ua) * dot(ub, ub)).squareRoot()), "seed \(seed)")
    let layer = try #require(found.layers.first)
    #expect(found.layers.count == 1 && layer.tensorCount == 2 && layer.change.elementCount == count + 100)
    #expect(layer.change.squaredNorm == found.tensors.reduce(0) { $0 + $1.change.squaredNorm }, "seed \(seed)")
    #expect(layer.conflict?.opposedCount == found.tensors.reduce(0) { $0 + ($1.conflict?.opposedCount ?? 0) })
  }

  @Test func figuresDoNotDependOnThreads() throws {
    var random = SeededGenerator(seed: 11)
    let count = ParameterScan.spanLength + 4096 * 3 + 5
    let (a, b, base) = (random.floats(count), random.floats(count), random.floats(count))
    func tensors(_ values: [Float]) -> [TestTensor] {
      [TestTensor("w", [count], values, .bf16), TestTensor("m", [30, 20], Array(values.prefix(600)))]
    }
    try withTemporaryFolder { folder in
      let first = try model(tensors(a), named: "a", in: folder)
      let second = try model(tensors(b), named: "b", in: folder)
      let origin = try model(tensors(base), named: "base", in: folder)
      let listener = ProgressSum()
      let one = try ModelDifference(
        from: first, to: second, base: origin,
        options: MeasurementOptions(spectra: true, threads: 1, listener: listener))
      // Two passes over both, a third for the matrix, one over the base.
      let expected = count * 2 * 5 + 600 * 4 * 7
      #expect(listener.heard == (expected, expected, 1))
      for threads in [2, 4] {
        let other = try ModelDifference(
          from: first, to: second, base: origin, options: MeasurementOptions(spectra: true, threads: threads))
        #expect(other.json == one.json)
      }
      #expect(try JSON(parsing: Array(one.json.text(pretty: true).utf8)) == one.json)
    }
  }

  @Test func textOfASmallDifference() throws {
    let a = [
      TestTensor("l.0.w", [2], [3, 4]), TestTensor("l.1.w", [2], [3, 4]), TestTensor("end", [1], [1]),
    ]
    let b = [
      TestTensor("l.0.w", [2], [3, 4.5]), TestTensor("l.1.w", [2], [2, 4]), TestTensor("end", [1], [1]),
    ]
    let found = try difference(a, b)
    let lines = found.text(glyphs: .ascii).split(separator: "\n", omittingEmptySubsequences: false).dropFirst(2)
    let expected = """
      2 of 3 compared tensors changed

      layer      rel. change                          cosine  max |change|  changed  near zero
      layer 0          0.100  ##########            0.998460         0.500  50.00 %    50.00 %
      layer 1          0.200  ####################  0.983870          1.00  50.00 %    50.00 %
      elsewhere            0                        1.000000             0      0 %      100 %
      total            0.157                        0.987681          1.00  40.00 %    60.00 %

      role     rel. change    cosine  max |change|  changed  near zero
      unknown        0.157  0.987681          1.00  40.00 %    60.00 %

      tensors that changed most  rel. change    cosine  max |change|  changed  near zero
      l.1.w                            0.200  0.983870          1.00  50.00 %    50.00 %
      l.0.w                            0.100  0.998460         0.500  50.00 %    50.00 %

      """
    #expect(lines.joined(separator: "\n") == expected)
    #expect(found.text(all: true).contains("\ntensor  rel. change"))
    #expect(found.text(all: true).contains("\nend               0  1.000000"))
  }
}
