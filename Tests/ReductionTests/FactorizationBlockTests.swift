import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@Suite("Factorizations of blocks, deltas and models")
struct FactorizationBlockTests {
  func matrix(_ rows: [[Float]]) throws -> Matrix<Float> {
    try Matrix(rows: rows.count, columns: rows.first?.count ?? 0, elements: rows.flatMap { $0 })
  }

  func random(_ rows: Int, _ columns: Int, seed: UInt64) throws -> Matrix<Float> {
    var generator = SeededGenerator(seed: seed)
    return try Matrix(rows: rows, columns: columns, elements: generator.floats(rows * columns))
  }

  func statistics(_ rows: [[Double]]) throws -> SiteStatistics {
    try FactorizationGolden.statistics(
      of: Matrix(rows: rows.count, columns: rows.first?.count ?? 0, elements: rows.flatMap { $0 }))
  }

  // MARK: - Adapters

  @Test("A change of two directions in an adapter of one, of two, and of four")
  func adapter() throws {
    let delta = try matrix([[0, 3, 0], [4, 0, 0]])
    let one = try ExtractedAdapter(of: delta, rank: 1)
    #expect(abs(one.energy - 16.0 / 25) < 1e-15 && abs(one.certificate.error - 3.0 / 5) < 1e-7)
    #expect(abs((one.certificate.floor ?? 0) - 0.6) < 1e-15 && one.singularValues.count == 2)
    #expect(abs(abs(one.a[0, 0]) - 2) < 1e-6 && abs(one.a[0, 0] * one.b[1, 0] - 4) < 1e-6)
    for rank in [2, 4] {
      let whole = try ExtractedAdapter(of: delta, rank: rank)
      #expect(whole.a.rows == rank && whole.b.columns == rank && whole.b.rows == 2 && whole.a.columns == 3)
      #expect(whole.energy == 1 && whole.certificate.error < 1e-7)
    }
    #expect(try ExtractedAdapter(of: delta, energy: 0.64).a.rows == 1)
    #expect(try ExtractedAdapter(of: delta, energy: 0.65).a.rows == 2)
    let none = try ExtractedAdapter(of: matrix([[0, 0]]), rank: 1)
    #expect(none.energy == 1 && none.certificate.error == 0 && none.a.elements == [0, 0])
  }

  @Test("An adapter planted in a change is found", arguments: [UInt64](1...3))
  func planted(seed: UInt64) throws {
    let (b, a) = (try random(30, 4, seed: seed), try random(4, 20, seed: seed + 50))
    let delta = Matrix<Float>(try MatrixProduct.product(Matrix<Double>(b), Matrix<Double>(a)))
    let found = try ExtractedAdapter(of: delta, rank: 4)
    #expect(found.certificate.error < 1e-6 && found.energy > 1 - 1e-12, "seed \(seed)")
    var previous = 1.0
    for rank in 1...4 {
      let error = try ExtractedAdapter(of: delta, rank: rank).certificate.error
      #expect(error < previous, "seed \(seed)")
      previous = error
    }
  }

  @Test("Adapters that cannot be")
  func badAdapters() throws {
    let delta = try matrix([[1, 2]])
    #expect(problem { try ExtractedAdapter(of: delta, rank: 0) }?.code == .reduction)
    for energy in [0, 1.1, .nan] {
      #expect(problem { try ExtractedAdapter(of: delta, energy: energy) }?.code == .reduction)
    }
    #expect(problem { try ExtractedAdapter(of: self.matrix([[.nan]]), rank: 1) }?.code == .nonFiniteMatrix)
  }

  // MARK: - One cut of a model

  @Test("A cut drops the small singular values and has their error")
  func cut() throws {
    let weight = try random(12, 18, seed: 4)
    let cut = try SpectralCut(weight)
    #expect(try cut.rank(keeping: 0.5) == 6 && cut.rank(keeping: 0.01) == 1 && cut.rank(keeping: 1) == 12)
    for rank in [1, 6, 12] {
      let (matrix, certificate) = try cut.weight(rank: rank)
      let measured = try OutputError.certificate(of: matrix, original: weight, statistics: nil)
      #expect(abs(measured.error - certificate.error) < 1e-6 && certificate.kind == .exact)
      let values = try LinearAlgebra.singularValues(Matrix<Double>(matrix))
      #expect(values.dropFirst(rank).allSatisfy { $0 < 1e-5 })
    }
    for share in [0, -1, 1.01, .nan] { #expect(problem { try cut.rank(keeping: share) }?.code == .reduction) }
    for rank in [0, 13] { #expect(problem { try cut.weight(rank: rank) }?.code == .reduction) }
  }

  @Test("The search finds the cut that removes planted noise, and nothing where every cut hurts")
  func search() throws {
    let clean = try MatrixProduct.product(
      Matrix<Double>(random(16, 2, seed: 1)), Matrix<Double>(random(2, 16, seed: 2)))
    let noise = try random(16, 16, seed: 3).elements.map { Double($0) / 20 }
    let noisy = try Matrix(rows: 16, columns: 16, elements: zip(clean.elements, noise).map { Float($0 + $1) })
    let whole = try random(16, 16, seed: 5)
    let models = ["noisy": noisy, "whole": whole]
    let truths = ["noisy": Matrix<Float>(clean), "whole": whole]
    func score(_ name: String, _ matrix: Matrix<Float>) -> Double {
      -zip(matrix.elements, truths[name]?.elements ?? []).reduce(0) { $0 + Double(($1.0 - $1.1) * ($1.0 - $1.1)) }
    }
    let baseline = score("noisy", noisy)
    let shares = [1, 0.75, 0.5, 0.125, 0.07]
    let found = try Laser.search(
      weights: ["noisy", "whole"], shares: shares, baseline: baseline,
      load: { name in models[name] ?? whole },
      evaluate: { (cut, weight) throws(Problem) in
        let decomposed = try weight()
        let matrix = try decomposed.weight(rank: decomposed.rank(keeping: cut.share)).matrix
        return cut.weight == "noisy" ? score("noisy", matrix) : baseline + score("whole", matrix) - 1
      })
    #expect(found.trials.count == 10)
    #expect(found.best?.cut == Laser.Cut(weight: "noisy", share: 0.125))
    let none = try Laser.search(
      weights: ["whole"], shares: shares, baseline: 0, load: { _ in whole }, evaluate: { _, _ in .nan })
    #expect(none.best == nil && none.trials.count == 5)
    let failed = problem {
      try Laser.search(
        weights: ["whole"], shares: [2], baseline: 0, load: { _ in whole }, evaluate: { _, _ in 0 })
    }
    #expect(failed?.code == .reduction && failed?.context.tensor == nil)
  }

  // MARK: - Ranks of several matrices

  @Test("Ranks go where they keep most; one shape: as exhaustive search", arguments: [UInt64](1...5))
  func allocation(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let spectra = (0..<3).map { _ in
      RankAllocation.Spectrum(
        outputs: 4, inputs: 6,
        values: (0..<4).map { _ in Double.random(in: 0...1, using: &generator) }.sorted(by: >))
    }
    func kept(_ ranks: [Int]) -> Double {
      zip(ranks, spectra).reduce(0) { sum, item in
        let energies = item.1.values.map { $0 * $0 }
        return sum + energies.prefix(item.0).reduce(0, +) / energies.reduce(0, +)
      }
    }
    for numbers in [30, 39, 70, 77, 120, 500] {
      let ranks = try RankAllocation.ranks(spectra, numbers: numbers)
      #expect(ranks.reduce(0, +) == min(12, numbers / 10))
      var best = 0.0
      for i in 1...4 {
        for j in 1...4 { for k in 1...4 where 10 * (i + j + k) <= numbers { best = max(best, kept([i, j, k])) } }
      }
      #expect(abs(kept(ranks) - best) < 1e-12, "seed \(seed), \(numbers)")
    }
  }

  @Test("A flat spectrum gets more ranks than a steep one; budgets and spectra that cannot be")
  func allocationByHand() throws {
    let steep = RankAllocation.Spectrum(outputs: 4, inputs: 4, values: [8, 1, 0.5, 0])
    let flat = RankAllocation.Spectrum(outputs: 4, inputs: 4, values: [2, 2, 2, 2])
    #expect(try RankAllocation.ranks([steep, flat], numbers: 40) == [1, 4])
    #expect(try RankAllocation.ranks([steep, flat], numbers: 55) == [2, 4])
    // A rank of the small matrix keeps less (0.33 against 0.36) and costs half.
    let large = RankAllocation.Spectrum(outputs: 4, inputs: 4, values: [2, 1.5])
    let small = RankAllocation.Spectrum(outputs: 2, inputs: 2, values: [2, 1.4])
    #expect(try RankAllocation.ranks([large, small], numbers: 16) == [1, 2])
    #expect(try RankAllocation.ranks([], numbers: 0) == [])
    #expect(problem { try RankAllocation.ranks([steep, flat], numbers: 15) }?.code == .reduction)
    for values in [[], [1, 2], [1, -1], [.nan], [1, 1, 1, 1, 1]] {
      let bad = RankAllocation.Spectrum(outputs: 4, inputs: 4, values: values)
      #expect(problem { try RankAllocation.ranks([bad], numbers: 100) }?.code == .reduction)
    }
  }

  @Test("Ranks by measured spectra beat one rank for all, at the same numbers", arguments: [UInt64](1...3))
  func allocated(seed: UInt64) throws {
    var generator = SeededGenerator(seed: seed)
    let data = try statistics(
      (0..<40).map { _ in generator.floats(16).enumerated().map { Double($1) / Double(1 + $0) } })
    // One near to rank 3, one with a flat spectrum.
    let low = try MatrixProduct.product(
      Matrix<Double>(random(16, 3, seed: seed)), Matrix<Double>(random(3, 16, seed: seed + 9)))
    let noise = try random(16, 16, seed: seed + 18).elements
    let weights = [
      try Matrix(rows: 16, columns: 16, elements: zip(low.elements, noise).map { Float($0) + $1 / 50 }),
      try random(16, 16, seed: seed + 27),
    ]
    let methods: [(RankAllocation.Weighing, any ReductionMethod)] = [
      (.nothing, try PlainSVD(.init([:], for: PlainSVD.card))),
      (.norms, try ActivationWeightedSVD(.init([:], for: ActivationWeightedSVD.card))),
      (.moment, try WhitenedSVD(.init([:], for: WhitenedSVD.card))),
    ]
    for (weighing, method) in methods {
      var given: SiteStatistics? = weighing == .nothing ? nil : data
      if weighing == .norms { given?.moment = nil }
      let spectra = try weights.map { try RankAllocation.Spectrum(of: $0, given, weighing: weighing) }
      func error(_ ranks: [Int]) throws -> Double {
        try zip(weights, ranks).reduce(0) { sum, item in
          let reduced = try method.reduce(item.0, given, to: .rank(item.1), parallel: MatrixProduct.serially)
          #expect(abs((reduced.certificate.floor ?? .nan) - reduced.certificate.error) < 1e-6)
          return sum + reduced.certificate.error * reduced.certificate.error
        }
      }
      let ranks = try RankAllocation.ranks(spectra, numbers: 2 * 6 * 32)
      #expect(ranks.reduce(0, +) == 12 && ranks[0] < ranks[1], "seed \(seed), \(weighing)")
      #expect(try error(ranks) < error([6, 6]), "seed \(seed), \(weighing)")
    }
    #expect(problem { try RankAllocation.Spectrum(of: weights[0], nil, weighing: .norms) }?.code == .reduction)
  }

  // MARK: - Feed-forward blocks

  func block() throws -> FeedForwardBlock {
    try FeedForwardBlock(
      gate: matrix([[1, 0], [0, 2], [0, 0]]), up: matrix([[2, 0], [1, 1], [0, 3]]), down: matrix([[1, -1, 4]]))
  }

  @Test("Channel scores by hand, and the channels that stay")
  func channels() throws {
    let (inputs, neurons) = (try statistics([[1, 2], [1, -2]]), try statistics([[2, 1, 0], [2, -1, 0]]))
    let scores = try Lorap.channelScores(block(), inputs: inputs, neurons: neurons)
    // gate² + up² + down², each times its input: 1 + 4 + 4, 16 + 5 + 1, 36.
    for (score, expected) in zip(scores, [3, 22.0.squareRoot(), 6]) { #expect(abs(score - expected) < 1e-12) }
    #expect(try Lorap.channels(scores, keep: 2, leastImportant: 0) == [1, 2])
    #expect(try Lorap.channels(scores, keep: 2, leastImportant: 0.34) == [0, 2])
    #expect(try Lorap.channels((0..<200).map(Double.init), keep: 100) == [0, 1] + Array(102..<200))
    #expect(try Lorap.channels(scores, keep: 3, leastImportant: 1) == [0, 1, 2])
    #expect(try Lorap.channels([], keep: 0) == [])
    for (keep, share) in [(4, 0.0), (-1, 0), (1, 1.5), (1, .nan)] {
      #expect(problem { try Lorap.channels(scores, keep: keep, leastImportant: share) }?.code == .reduction)
    }
    #expect(problem { try Lorap.channelScores(self.block(), inputs: neurons, neurons: neurons) }?.code == .matrixShape)
    let masked = try block().masked(keeping: [0, 2])
    #expect(masked.gate?.elements == [1, 0, 0, 0, 0, 0] && masked.up.elements == [2, 0, 0, 0, 0, 3])
    #expect(masked.down.elements == [1, 0, 4])
  }

  @Test("Heavy neurons stay as they are, light ones are factored, and both add up")
  func split() throws {
    let (inputs, neurons) = (try statistics([[1, 2], [1, -2]]), try statistics([[2, 1, 0.5], [2, -1, 0.5]]))
    let split = try FeedForwardSplit(
      block(), inputs: inputs, neurons: neurons, heavy: 1, method: WhitenedSVD(.init([:], for: WhitenedSVD.card)),
      to: .rank(1))
    #expect(split.heavy == [0] && split.light == [1, 2])
    #expect(split.heavyBlock.up.elements == [2, 0] && split.heavyBlock.down.elements == [1])
    // Gate of the light neurons has rank 1, so it is exact; so is the one row of down.
    #expect(try #require(split.lightGate).certificate.error < 1e-6)
    #expect(try #require(split.lightDown).certificate.error < 1e-6)
    #expect(try #require(split.lightUp).certificate.error > 0.01)
    #expect(split.storedNumbers == 5 + 4 + 4 + 3)
    let contribution = try FeedForwardSplit(
      block(), inputs: nil, neurons: neurons, heavy: 2, score: .contribution,
      method: PlainSVD(.init([:], for: PlainSVD.card)), to: .rank(1))
    #expect(contribution.heavy == [0, 2])
    let all = try FeedForwardSplit(
      block(), inputs: nil, neurons: neurons, heavy: 3, method: PlainSVD(.init([:], for: PlainSVD.card)), to: .rank(1))
    #expect(all.light.isEmpty && all.lightUp == nil && all.storedNumbers == 15)
  }

  @Test(
    "A split against a budget: heavy neurons whole, the others as their method makes them", arguments: [UInt64](1...3))
  func splitToABudget(seed: UInt64) throws {
    let (d, n) = (12, 40)
    var generator = SeededGenerator(seed: seed)
    let data = try statistics((0..<60).map { _ in generator.floats(d).map(Double.init) })
    let inner = try statistics((0..<60).map { _ in generator.floats(n).map(Double.init) })
    let matrices = [
      BlockMatrix("down", .down, try random(d, n, seed: seed + 1), inner),
      BlockMatrix("gate", .gate, try random(n, d, seed: seed + 2), data),
      BlockMatrix("up", .up, try random(n, d, seed: seed + 3), data),
    ]
    let parameters = try ReductionParameters(
      ["heavy": .number(0.25), "light": .word("awsvd")], for: FFSplit.card)
    let found = try FFSplit(parameters, share: 0.8).reduce(matrices, parallel: MatrixProduct.serially)
    let order = (0..<n).sorted { inner.rootMeanSquares[$0] > inner.rootMeanSquares[$1] }
    let light = order.dropFirst(10).sorted()
    // (0.8 * 40 - 10) / 30 of 30 x 12 numbers pay for rank 6.
    let method = try ActivationWeightedSVD(.init([:], for: ActivationWeightedSVD.card))
    for (matrix, outcome) in zip(matrices, found) {
      #expect(outcome.text == "heavy 10 of 40, others rank 6" && outcome.budget == .parameters(0.8))
      #expect(outcome.form.factorNumbers == 10 * d + 6 * (30 + d))
      let isDown = matrix.part == .down
      let rest = isDown ? matrix.weight.selecting(columns: light) : matrix.weight.selecting(rows: light)
      var known = SiteStatistics(width: isDown ? 30 : d)
      known.count = 60
      known.squareSums = isDown ? light.map { inner.squareSums[$0] } : data.squareSums
      let factored = try method.reduce(rest, known, to: .rank(6), parallel: MatrixProduct.serially).form.materialized()
      var expected = matrix.weight
      for (index, neuron) in light.enumerated() {
        for k in 0..<d {
          if isDown { expected[k, neuron] = factored[k, index] } else { expected[neuron, k] = factored[index, k] }
        }
      }
      let sum = try outcome.form.materialized()
      #expect(sum.elements == expected.elements, "\(matrix.name)")
    }
    #expect(FFSplit.card.parameters.map(\.name) == ["heavy", "score", "light"])
    #expect(try FFSplit(.init([:], for: FFSplit.card), share: 0.8).needs == .moment)
    #expect(try FFSplit(parameters, share: 0.8).needs == .columns)
    #expect(problem { try FFSplit(parameters, share: 0.25) }?.code == .reduction)
    let plain = try FFSplit(parameters, share: 0.8)
    #expect(problem { try plain.reduce([matrices[0]], parallel: MatrixProduct.serially) }?.context.tensor == "down")
    let other = BlockMatrix("query", .other, matrices[1].weight, data)
    #expect(
      problem { try plain.reduce(matrices + [other], parallel: MatrixProduct.serially) }?.context.tensor == "query")
  }

  @Test("Blocks and splits that cannot be")
  func badBlocks() throws {
    #expect(
      problem { try FeedForwardBlock(gate: nil, up: self.matrix([[1]]), down: self.matrix([[1, 2]])) }?.code
        == .matrixShape)
    let neurons = try statistics([[2, 1, 0.5]])
    let plain = try PlainSVD(.init([:], for: PlainSVD.card))
    for heavy in [-1, 4] {
      #expect(
        problem {
          try FeedForwardSplit(
            self.block(), inputs: nil, neurons: neurons, heavy: heavy, method: plain, to: .rank(1))
        }?.code == .reduction)
    }
    #expect(
      problem {
        try FeedForwardSplit(
          self.block(), inputs: nil, neurons: SiteStatistics(width: 3), heavy: 1, method: plain, to: .rank(1))
      }?.code == .reduction)
  }
}
