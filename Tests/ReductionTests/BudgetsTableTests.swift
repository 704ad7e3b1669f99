import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

@Suite struct BudgetsTableTests {
  private typealias Level = SensitivityTable.Level
  private typealias Row = SensitivityTable.Row

  private static let digest = Digest(high: 1, low: 2)

  private static func record() -> SensitivityTable.Record {
    SensitivityTable.Record(
      method: "sparsegpt", parameters: ["block_size": .number(64), "damp": .number(0.015), "scope": .word("row")],
      norm: "relative Frobenius norm of the outputs on the calibration data",
      model: ModelIdentity(weights: digest, config: Digest(high: 3, low: 4)), statistics: Digest(high: 5, low: 6))
  }

  private static func sample() throws -> SensitivityTable {
    try SensitivityTable(
      record(),
      rows: [
        Row(
          name: "layers.0.q", shape: [8, 16], site: "text/0/attention", denseBytes: 256, outputEnergy: 1.5e7,
          levels: [
            Level(budget: .sparsity(0.25), numbers: 96, bytes: 330, relativeError: 0.0123, kind: .measured),
            Level(budget: .sparsity(0.5), numbers: 64, bytes: 260, relativeError: 0.0871, kind: .measured),
            Level(budget: .pattern(keep: 2, of: 4), numbers: 64, bytes: 192, relativeError: 0.125, kind: .measured),
          ]),
        Row(
          name: "layers.0.down \"x\"", shape: [2, 4, 16], site: nil, denseBytes: 256, outputEnergy: 0.1,
          levels: [
            Level(budget: .sparsity(0.5), numbers: 64, bytes: 260, relativeError: 1e-7 / 3, kind: .estimate),
            Level(budget: .sparsity(0.25), numbers: 96, bytes: 330, relativeError: 0, kind: .exact),
            Level(budget: .rank(3), numbers: 72, bytes: 144, relativeError: 12.25, kind: .bound),
            Level(budget: .parameters(0.3), numbers: 24, bytes: 48, relativeError: 1, kind: .measured),
          ]),
      ])
  }

  @Test func comesBackFromJSON() throws {
    let table = try Self.sample()
    for pretty in [false, true] {
      #expect(try SensitivityTable(parsing: table.json.bytes(pretty: pretty)) == table)
    }
    var bare = Self.record()
    (bare.model, bare.statistics, bare.parameters) = (nil, nil, [:])
    let empty = try SensitivityTable(bare, rows: [])
    #expect(try SensitivityTable(parsing: empty.json.bytes()) == empty)
    #expect(
      empty.json.text()
        == #"{"format":"espalier-sensitivity","version":1,"method":"sparsegpt","parameters":{},"#
        + #""norm":"relative Frobenius norm of the outputs on the calibration data","matrices":[]}"#)
    #expect(
      table.json["matrices"]?[0]?["levels"]?[2]?.text()
        == #"{"keep":2,"of":4,"numbers":64,"bytes":192,"relative_error":0.125,"kind":"measured"}"#)
  }

  @Test func reads() throws {
    #expect(
      try Self.sample().text == """
        sparsegpt block_size=64 damp=0.015 scope=row: relative Frobenius norm of the outputs on the calibration data (measured)
        matrix             shape       sparsity 0.25  sparsity 0.5    2:4  rank 3  parameters 0.3
        layers.0.q         8 x 16             0.0123        0.0871  0.125
        layers.0.down "x"  2 x 4 x 16             =0      ~3.33e-8          <12.3            1.00

        """)
  }

  @Test func energies() throws {
    let table = try Self.sample()
    #expect(table.rows[0].squaredError(table.rows[0].levels[2]) == 0.125 * 0.125 * 1.5e7)
    let weight = try Matrix<Float>(random: 6, 10, seed: 1)
    let inputs = try correlatedInputs(50, 10, seed: 2)
    var statistics = try SiteStatistics(of: inputs)
    let changed = try MagnitudePruning.make().prune(weight, to: .sparsity(0.5))
    // ‖(W - W') X‖² by its definition.
    func squares(_ matrix: Matrix<Float>) throws -> Double {
      let wide = try MatrixProduct.product(
        Matrix<Double>(matrix), Matrix<Double>(inputs), transposingSecond: true)
      return wide.elements.reduce(0) { $0 + $1 * $1 }
    }
    let energy = try OutputError.energy(of: weight, statistics: statistics)
    let whole = try squares(weight)
    #expect(abs(energy - whole) < 1e-12 * whole)
    let difference = try Matrix(
      rows: 6, columns: 10, elements: zip(weight.elements, changed.elements).map { $0 - $1 })
    let error = try OutputError.certificate(of: changed, original: weight, statistics: statistics).error
    #expect(abs(error * error * energy - (try squares(difference))) < 1e-6 * whole)

    statistics.moment = nil
    var diagonal = 0.0
    for i in 0..<6 { for j in 0..<10 { diagonal += Double(weight[i, j] * weight[i, j]) * statistics.squareSums[j] } }
    #expect(abs(try OutputError.energy(of: weight, statistics: statistics) - diagonal) < 1e-6 * diagonal)
    let plain = weight.elements.reduce(0) { $0 + Double($1) * Double($1) }
    #expect(abs(try OutputError.energy(of: weight, statistics: nil) - plain) < 1e-12 * plain)
    #expect(
      problem { try OutputError.energy(of: weight, statistics: SiteStatistics(width: 9)) }?.code == .matrixShape)
  }

  @Test func ofAnother() throws {
    let (table, record) = (try Self.sample(), Self.record())
    func message(
      method: String = "sparsegpt", parameters: [String: ParameterValue]? = nil, model: ModelIdentity? = nil,
      statistics: Digest? = nil
    ) -> String? {
      problem {
        try table.require(
          method: method, parameters: parameters ?? record.parameters, model: model, statistics: statistics)
      }?.message
    }
    #expect(message() == nil)
    #expect(message(model: record.model, statistics: record.statistics) == nil)
    #expect(message(method: "wanda") == "the table is of other method (sparsegpt against wanda)")
    #expect(message(parameters: [:]) == "the table is of other parameters of the method")
    #expect(
      message(statistics: Self.digest)
        == "the table is of other statistics (00000000000000050000000000000006 against 00000000000000010000000000000002)"
    )
    #expect(
      message(model: ModelIdentity(weights: Self.digest, config: Self.digest))?
        .hasPrefix("the table is of other config") == true)
  }

  // MARK: - Damage

  /// A text with one thing replaced, and what is said of it.
  @Test(arguments: [
    (#""format":"espalier-sensitivity""#, #""format":"x""#, "the file is no table of sensitivities"),
    (#""version":1"#, #""version":2"#, "the table is of version 2, and this program reads 1"),
    (#""version":1"#, #""vision":1"#, "the table is of version (none), and this program reads 1"),
    (#""method":"sparsegpt""#, #""method":3"#, "`method` of the table is not a text: 3"),
    (#""norm":"#, #""norms":"#, "the table has no `norm`"),
    (#""damp":0.015"#, #""damp":null"#, "`parameters` has null for `damp`"),
    (#""damp":0.015"#, #""damp":1e999"#, "`parameters` has 1e999 for `damp`"),
    (#""matrices":["#, #""more":1,"matrices":["#, "the table has the member `more`, which is not known"),
    (
      #""statistics":"00000000000000050000000000000006""#, #""statistics":"5""#,
      "`statistics` of the table is not a digest: \"5\""
    ),
    (#""config":"#, #""configs":"#, "`model` has no `config`"),
    (#""matrices":[{"#, #""matrices":[7,{"#, "matrix 0 is no object"),
    (#""name":"layers.0.q","#, "", "matrix 0 has no `name`"),
    (#""shape":[8,16]"#, #""shape":[8,1.5]"#, "`shape` of `layers.0.q` is not a list of whole numbers: [8,1.5]"),
    (#""shape":[8,16]"#, #""shape":[128]"#, "[128] is not the shape of a matrix"),
    (#""shape":[8,16]"#, #""shape":[8,0]"#, "[8, 0] is not the shape of a matrix"),
    (
      #""shape":[8,16]"#, #""shape":[9000000000,9000000000]"#,
      "[9000000000, 9000000000] is not the shape of a matrix"
    ),
    (
      #""dense_bytes":256,"output_energy":0.1"#, #""dense_bytes":-1,"output_energy":0.1"#,
      "-1 bytes and an energy of 0.1"
    ),
    (
      #""output_energy":0.1"#, #""output_energy":1e400"#,
      "`output_energy` of `layers.0.down \"x\"` is not a number: 1e400"
    ),
    (
      #""relative_error":0.125"#, #""relative_error":null"#,
      "`relative_error` of `layers.0.q`, level 2 is not a number: null"
    ),
    (#""relative_error":0.125"#, #""relative_error":-0.125"#, "the level 2:4 has an error of -0.125"),
    (#""relative_error":0.125"#, #""relative_error":1e200"#, "the level 2:4 has an error of 1e+200"),
    (
      #""kind":"bound""#, #""kind":"guess""#,
      "`kind` of `layers.0.down \"x\"`, level 2 is not one of exact, bound, estimate, measured: \"guess\""
    ),
    (
      #""sparsity":0.25,"numbers":96,"bytes":330,"relative_error":0.0123"#,
      #""sparsity":0.5,"numbers":96,"bytes":330,"relative_error":0.0123"#, "the level sparsity 0.5 is there twice"
    ),
    (#""sparsity":0.25,"#, #""sparsity":1.25,"#, "sparsity 1.25 is no budget"),
    (#""keep":2,"of":4"#, #""keep":2"#, "`layers.0.q`, level 2 has no `of`"),
    (#""keep":2,"of":4"#, #""keep":5,"of":4"#, "5:4 is no budget"),
    (#""rank":3"#, #""rank":0"#, "rank 0 is no budget"),
    (#""rank":3"#, #""size":3"#, "`layers.0.down \"x\"`, level 2 has no `parameters`"),
    (
      #""rank":3"#, #""rank":3,"sparsity":0.5"#,
      "`layers.0.down \"x\"`, level 2 has the member `rank`, which is not known"
    ),
    (#""numbers":72"#, #""numbers":-72"#, "the level rank 3 takes -72 numbers in 144 bytes"),
    (#""numbers":72"#, #""numbers":72.5"#, "`numbers` of `layers.0.down \"x\"`, level 2 is not a whole number: 72.5"),
    (#"layers.0.down \"x\""#, "layers.0.q", "the matrix is there twice"),
  ]) func damage(of part: String, by other: String, message: String) throws {
    let text = try Self.sample().json.text()
    let place = try #require(text.firstRange(of: part))
    let found = problem { try SensitivityTable(parsing: Array(text.replacingCharacters(in: place, with: other).utf8)) }
    #expect(found?.code == .sensitivityFormat)
    #expect(found?.message == message)
  }

  @Test func levelsThatAreNone() throws {
    let row = Row(name: "a", shape: [2, 2], site: nil, denseBytes: 16, outputEnergy: 1, levels: [])
    let found = problem { try SensitivityTable(Self.record(), rows: [row]) }
    #expect(found?.message == "the matrix has no levels")
    #expect(found?.context.tensor == "a")
  }

  /// Whatever is cut off or flipped: a problem, never a trap.
  @Test func damagedBytes() throws {
    let bytes = try Self.sample().json.bytes()
    for end in 0..<bytes.count { #expect(problem { try SensitivityTable(parsing: Array(bytes[..<end])) } != nil) }
    var generator = SeededGenerator(seed: 5)
    for _ in 0..<3000 {
      var damaged = bytes
      damaged[generator.below(bytes.count)] = UInt8(generator.below(256))
      if let table = try? SensitivityTable(parsing: damaged) { _ = (table.text, table.items(.bytes)) }
    }
  }

  // MARK: - Allocation

  private static func random(_ count: Int, _ generator: inout SeededGenerator) throws -> SensitivityTable {
    try SensitivityTable(
      record(),
      rows: (0..<count).map { index in
        let (rows, columns) = (8 * (1 + generator.below(6)), 8 * (1 + generator.below(6)))
        let scale = 0.1 + generator.unit()
        return Row(
          name: "m\(index)", shape: [rows, columns], site: nil, denseBytes: 2 * rows * columns,
          outputEnergy: 100 * generator.unit(),
          levels: (1..<8).map { level in
            let share = Double(level) / 8
            let numbers = rows * columns - Int(Double(rows * columns) * share)
            return Level(
              budget: .sparsity(share), numbers: numbers, bytes: 2 * numbers + rows * columns / 8,
              relativeError: scale * share * (1 + 0.1 * generator.unit()), kind: .measured)
          })
      })
  }

  @Test(arguments: SensitivityTable.Objective.allCases) func neverWorseThanUniform(
    objective: SensitivityTable.Objective
  ) throws {
    var generator = SeededGenerator(seed: 61)
    for round in 0..<60 {
      let table = try Self.random(1 + generator.below(10), &generator)
      let bytes = table.rows.reduce(0) { $0 + $1.denseBytes }
      let goals: [BudgetGoal] = [
        .sparsity(0.5), .parameters(0.4), .bytes(bytes * 3 / 4 + 1000), .modelParameters(0.8), .maxError(0.6),
      ]
      let untouched = UntouchedPart(numbers: 500, bytes: 1000)
      for goal in goals {
        guard let uniform = try? table.uniform(for: goal, objective, untouched: untouched) else { continue }
        let found = try table.allocation(for: goal, objective, untouched: untouched)
        if case .maxError(let limit) = goal {
          #expect(found.allocation.cost <= uniform.allocation.cost)
          #expect(found.allocation.error <= limit)
        } else {
          let (_, most) = try #require(
            try goal.limit(targets: table.rows.reduce(0) { $0 + $1.numbers }, untouched: untouched))
          #expect(found.allocation.error <= uniform.allocation.error, "\(goal) \(round)")
          #expect(found.allocation.cost <= most)
          #expect(uniform.allocation.cost <= most)
        }
        #expect(Set(uniform.levels).count == 1)
        // One choice more never makes it worse.
        let dense = try table.allocation(for: goal, objective, untouched: untouched, keepsDense: true)
        if case .maxError = goal { continue }
        #expect(dense.allocation.error <= found.allocation.error)
      }
    }
  }

  @Test func levelsOfTheSample() throws {
    let table = try Self.sample()
    let half = try table.allocation(for: .sparsity(0.5))
    // 128 numbers for both: the first has to give some, since the second loses all with its smallest levels.
    #expect(half.levels == [.sparsity(0.5), .sparsity(0.5)])
    #expect(half.allocation.cost == 128)
    let kept = try table.allocation(for: .parameters(0.75), keepsDense: true)
    #expect(kept.levels == [nil, .sparsity(0.5)])
    #expect(kept.allocation.cost == 192)
    let small = try table.allocation(for: .maxError(0.1), unit: .numbers)
    #expect(small.levels == [.sparsity(0.5), .sparsity(0.5)])
    #expect(small.allocation.error == 0.0871)
    #expect(
      problem { try table.allocation(for: .maxError(0.01)) }?.message
        == "layers.0.q: its least error is 0.0123, above the limit of 0.01")
    #expect(
      problem { try table.allocation(for: .bytes(100)) }?.message
        == "a budget of 100 is below 240, the least that 2 matrices can take together")
    #expect(try table.uniform(for: .parameters(0.6)).levels == [.sparsity(0.5), .sparsity(0.5)])
    #expect(try table.uniform(for: .maxError(0.05), unit: .numbers).levels == [.sparsity(0.25), .sparsity(0.25)])
    #expect(
      problem { try table.uniform(for: .parameters(0.25)) }?.message
        == "no level of all matrices is within 64 (numbers); the least is 128")
    #expect(
      problem { try table.uniform(for: .maxError(0.001)) }?.message
        == "no level of all matrices is within 0.001 (relative error); the least is 0.0123")
    let disjoint = try SensitivityTable(
      Self.record(),
      rows: [
        Row(
          name: "a", shape: [2, 2], site: nil, denseBytes: 16, outputEnergy: 1,
          levels: [Level(budget: .rank(1), numbers: 4, bytes: 16, relativeError: 0, kind: .exact)]),
        Row(
          name: "b", shape: [2, 2], site: nil, denseBytes: 16, outputEnergy: 1,
          levels: [Level(budget: .rank(2), numbers: 8, bytes: 32, relativeError: 0, kind: .exact)]),
      ])
    #expect(
      problem { try disjoint.uniform(for: .parameters(1)) }?.message == "no level was measured for all 2 matrices")
  }
}

extension String {
  fileprivate func firstRange(of part: String) -> Range<String.Index>? { ranges(of: part).first }

  fileprivate func replacingCharacters(in range: Range<String.Index>, with other: String) -> String {
    self[..<range.lowerBound] + other + self[range.upperBound...]
  }
}
