import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@Suite("Factorizations of one matrix")
struct FactorizationTests {
  static let methods: [any ReductionMethod.Type] = [
    PlainSVD.self, ActivationScaledSVD.self, ActivationWeightedSVD.self, WhitenedSVD.self, FeaturePCA.self, CUR.self,
    ColumnInterpolation.self,
  ]

  func method(
    _ type: any ReductionMethod.Type, _ parameters: [String: ParameterValue] = [:]
  ) throws -> any ReductionMethod {
    try type.init(ReductionParameters(parameters, for: type.card))
  }

  func reduce(
    _ type: any ReductionMethod.Type, _ weight: Matrix<Float>, _ statistics: SiteStatistics? = nil,
    to budget: MatrixBudget, _ parameters: [String: ParameterValue] = [:]
  ) throws -> ReducedMatrix {
    try method(type, parameters).reduce(weight, statistics, to: budget, parallel: MatrixProduct.serially)
  }

  func matrix(_ rows: [[Float]]) throws -> Matrix<Float> {
    try Matrix(rows: rows.count, columns: rows.first?.count ?? 0, elements: rows.flatMap { $0 })
  }

  func statistics(_ rows: [[Double]]) throws -> SiteStatistics {
    try FactorizationGolden.statistics(
      of: Matrix(rows: rows.count, columns: rows.first?.count ?? 0, elements: rows.flatMap { $0 }))
  }

  /// What the parts multiply to.
  func product(_ reduced: ReducedMatrix) throws -> Matrix<Double> {
    switch reduced.form {
    case .dense(let matrix): return Matrix<Double>(matrix)
    case .factors(let left, let right): return try MatrixProduct.product(Matrix<Double>(left), Matrix<Double>(right))
    case .cur(let columns, let link, let rows, _, _):
      return try MatrixProduct.product(
        MatrixProduct.product(Matrix<Double>(columns), Matrix<Double>(link)), Matrix<Double>(rows))
    case .split, .quantized: return Matrix<Double>(try reduced.form.materialized())
    }
  }

  func expect(
    _ reduced: ReducedMatrix, is expected: [Double], _ location: SourceLocation = #_sourceLocation
  ) throws {
    let found = try product(reduced).elements
    #expect(found.count == expected.count, sourceLocation: location)
    for (a, b) in zip(found, expected) { #expect(abs(a - b) < 1e-6, "\(found)", sourceLocation: location) }
  }

  /// Correlated inputs, of which the last `dead` are zero.
  func data(_ rows: Int, _ columns: Int, dead: Int = 0, seed: UInt64) throws -> SiteStatistics {
    var generator = SeededGenerator(seed: seed)
    let mixing = generator.floats(columns * columns).map(Double.init)
    return try statistics(
      (0..<rows).map { _ in
        let source = generator.floats(columns).map(Double.init)
        return (0..<columns).map { j in
          j >= columns - dead
            ? 0 : 0.3 + (0..<columns).reduce(0) { $0 + source[$1] * mixing[$1 * columns + j] / Double(1 + $1) }
        }
      })
  }

  func weight(_ rows: Int, _ columns: Int, seed: UInt64) throws -> Matrix<Float> {
    var generator = SeededGenerator(seed: seed)
    return try Matrix(rows: rows, columns: columns, elements: generator.floats(rows * columns))
  }

  // MARK: - By hand

  @Test("Plain: the larger of two")
  func plain() throws {
    let reduced = try reduce(PlainSVD.self, matrix([[3, 0], [0, 2]]), to: .rank(1))
    try expect(reduced, is: [3, 0, 0, 0])
    #expect(abs(reduced.certificate.error - 2 / 13.0.squareRoot()) < 1e-7)
    #expect(abs((reduced.certificate.floor ?? 0) - 2 / 13.0.squareRoot()) < 1e-15)
    #expect(reduced.certificate.kind == .exact && reduced.storedNumbers == 4)
  }

  @Test("Whitened: the input that is larger, whatever the weight says")
  func whitened() throws {
    let reduced = try reduce(
      WhitenedSVD.self, matrix([[2, 0], [0, 1]]), statistics([[1, 0], [0, 3]]), to: .rank(1))
    try expect(reduced, is: [0, 0, 0, 1])
    #expect(abs(reduced.certificate.error - 2 / 13.0.squareRoot()) < 1e-7)
    #expect(abs((reduced.certificate.floor ?? 0) - 2 / 13.0.squareRoot()) < 1e-15)
    #expect(reduced.certificate.kind == .measured)
  }

  @Test("Scaled by a power of the mean magnitude: 3 · 1 against 2 · sqrt 4")
  func scaled() throws {
    let (weight, data) = (try matrix([[3, 0], [0, 2]]), try statistics([[1, 4], [-1, -4]]))
    try expect(reduce(ActivationScaledSVD.self, weight, data, to: .rank(1)), is: [0, 0, 0, 2])
    try expect(reduce(ActivationScaledSVD.self, weight, data, to: .rank(1), ["alpha": .number(0)]), is: [3, 0, 0, 0])
  }

  @Test("Weighed by norms: the optimum where inputs are taken as uncorrelated")
  func weighed() throws {
    var data = try statistics([[1, 0], [0, 3]])
    data.moment = nil
    let reduced = try reduce(ActivationWeightedSVD.self, matrix([[2, 0], [0, 1]]), data, to: .rank(1))
    try expect(reduced, is: [0, 0, 0, 1])
    #expect(reduced.certificate.kind == .estimate)
    #expect(abs(reduced.certificate.error - 2 / 13.0.squareRoot()) < 1e-7)
    #expect(abs((reduced.certificate.floor ?? 0) - 2 / 13.0.squareRoot()) < 1e-15)
  }

  @Test("Around the mean: what never varies goes into the bias")
  func centered() throws {
    let (weight, data) = (try matrix([[1, 0], [0, 1]]), try statistics([[10, 1], [10, -1]]))
    let reduced = try reduce(FeaturePCA.self, weight, data, to: .rank(1), ["center": .flag(true)])
    try expect(reduced, is: [0, 0, 0, 1])
    #expect(reduced.outputShift == [10, 0])
    #expect(reduced.certificate.error == 0 && reduced.storedNumbers == 6)
    let without = try reduce(FeaturePCA.self, weight, data, to: .rank(1))
    try expect(without, is: [1, 0, 0, 0])
    #expect(without.outputShift == nil && abs(without.certificate.error - (2 / 202.0).squareRoot()) < 1e-7)
  }

  @Test("One column and one row make a matrix of rank one", arguments: ["deim", "leverage"])
  func columnAndRow(selection: String) throws {
    let weight = try matrix([[3, 4, 5], [6, 8, 10]])
    let reduced = try reduce(CUR.self, weight, to: .rank(1), ["selection": .word(selection)])
    guard case .cur(let columns, let link, let rows, [2], [1]) = reduced.form else {
      Issue.record("\(reduced.form)")
      return
    }
    #expect(columns.elements == [5, 10] && rows.elements == [6, 8, 10] && abs(link.elements[0] - 0.1) < 1e-7)
    #expect(reduced.certificate.error < 1e-6 && reduced.storedNumbers == 6)
    let half = try reduce(ColumnInterpolation.self, weight, to: .rank(1), ["selection": .word(selection)])
    guard case .factors(let left, let right) = half.form else { return }
    #expect(left.elements == [5, 10])
    for (a, b) in zip(right.elements, [0.6, 0.8, 1] as [Float]) { #expect(abs(a - b) < 1e-6) }
  }

  @Test("Columns are those of large inputs where activations count")
  func importance() throws {
    let (weight, data) = (try matrix([[3, 0], [0, -2]]), try statistics([[1, 4], [1, 4]]))
    for (importance, chosen) in [("weight", 0), ("activation", 1)] {
      let reduced = try reduce(CUR.self, weight, data, to: .rank(1), ["importance": .word(importance)])
      guard case .cur(_, _, _, let columns, let rows) = reduced.form else { continue }
      #expect(columns == [chosen] && rows == [chosen])
    }
  }

  // MARK: - Properties

  @Test("Full rank is the matrix, dead inputs or not", arguments: [(12, 20), (20, 12)], [0, 5])
  func fullRank(shape: (Int, Int), dead: Int) throws {
    let weight = try weight(shape.0, shape.1, seed: 3)
    let data = try data(9, shape.1, dead: dead, seed: 4)
    for type in Self.methods {
      let reduced = try reduce(type, weight, data, to: .rank(12))
      let worst = zip(try product(reduced).elements, weight.elements).reduce(0) { max($0, abs($1.0 - Double($1.1))) }
      #expect(worst < 1e-4, "\(type.card.name): \(worst)")
      #expect(reduced.certificate.error < 1e-5, "\(type.card.name): \(reduced.certificate.error)")
    }
  }

  @Test("The error falls with the rank, to its floor and no lower", arguments: [UInt64](1...3))
  func monotone(seed: UInt64) throws {
    let weight = try weight(24, 30, seed: seed)
    let data = try data(20, 30, dead: 3, seed: seed + 10)
    for (type, given) in [
      (PlainSVD.self, nil), (WhitenedSVD.self, data), (FeaturePCA.self, data),
    ] as [(any ReductionMethod.Type, SiteStatistics?)] {
      var previous = Double.infinity
      for rank in [1, 2, 5, 9, 14, 19] {
        let certificate = try reduce(type, weight, given, to: .rank(rank)).certificate
        #expect(certificate.error <= previous, "\(type.card.name) \(rank), seed \(seed)")
        // Equality of Eckart and Young, but for the rounding of the factors to float32.
        #expect(abs(certificate.error - (certificate.floor ?? .nan)) < 1e-6, "\(type.card.name) \(rank), seed \(seed)")
        previous = certificate.error
      }
    }
    let whitened = try reduce(WhitenedSVD.self, weight, data, to: .rank(9)).certificate.error
    for type in Self.methods {
      let error = try reduce(type, weight, data, to: .rank(9)).certificate.error
      #expect(error > whitened - 1e-7, "\(type.card.name), seed \(seed)")
    }
  }

  @Test("A link fitted to outputs has outputs no worse", arguments: [UInt64](1...3), ["deim", "leverage"])
  func link(seed: UInt64, selection: String) throws {
    let weight = try weight(24, 30, seed: seed)
    let data = try data(80, 30, seed: seed + 20)
    let plain = try reduce(CUR.self, weight, data, to: .rank(10), ["selection": .word(selection)])
    let fitted = try reduce(
      CUR.self, weight, data, to: .rank(10), ["selection": .word(selection), "link": .word("outputs")])
    #expect(fitted.certificate.error <= plain.certificate.error, "seed \(seed)")
    #expect(fitted.certificate.error > 0)
  }

  @Test("Threads change no bit")
  func threads() throws {
    let (weight, data) = (try weight(70, 90, seed: 1), try data(60, 90, dead: 2, seed: 2))
    let pool = WorkerPool(threads: 3)
    defer { pool.stop() }
    for type in Self.methods {
      let serial = try reduce(type, weight, data, to: .rank(40))
      let parallel = try method(type).reduce(weight, data, to: .rank(40), parallel: pool.forEach)
      #expect(try product(serial) == product(parallel) && serial.certificate == parallel.certificate)
    }
  }

  @Test("A share of the parameters is not exceeded, and one rank more would exceed it")
  func shares() throws {
    let (weight, data) = (try weight(24, 30, seed: 1), try data(50, 30, seed: 2))
    for type in Self.methods {
      for share in [0.1, 0.33, 0.5, 0.8] {
        let reduced = try reduce(type, weight, data, to: .parameters(share))
        let allowed = share * 720
        let rank: Int
        switch reduced.form {
        case .factors(let left, _): rank = left.columns
        case .cur(_, let link, _, _, _): rank = link.rows
        case .dense, .split, .quantized: rank = 0
        }
        let square = type == CUR.self ? 1 : 0
        #expect(Double(reduced.storedNumbers) <= allowed)
        #expect(Double((rank + 1) * (54 + square * (rank + 1))) > allowed, "\(type.card.name) \(share)")
      }
    }
  }

  @Test("Blocks and sketches of the moment serve, and say that they estimate")
  func otherMoments() throws {
    let weight = try weight(6, 4, seed: 8)
    var data = try data(40, 4, seed: 9)
    guard case .full(let full)? = data.moment else { return }
    let whole = try reduce(WhitenedSVD.self, weight, data, to: .rank(2))
    data.moment = .blocks([full])
    let blocked = try reduce(WhitenedSVD.self, weight, data, to: .rank(2))
    data.moment = .sketch(try LinearAlgebra.semidefiniteFactor(full).transposed)
    let sketched = try reduce(WhitenedSVD.self, weight, data, to: .rank(2))
    for other in [blocked, sketched] {
      for (a, b) in zip(try product(whole).elements, try product(other).elements) { #expect(abs(a - b) < 1e-6) }
      #expect(other.certificate.kind == .estimate && other.certificate.floor == nil)
    }
  }

  // MARK: - Bad input

  @Test("Budgets that no factors keep")
  func budgets() throws {
    let (weight, data) = (try weight(4, 6, seed: 1), try data(9, 6, seed: 2))
    for type in Self.methods {
      for budget: MatrixBudget in [
        .rank(0), .rank(5), .rank(-1), .parameters(0), .parameters(1.5), .parameters(.nan), .parameters(0.01),
        .sparsity(0.5), .pattern(keep: 2, of: 4),
      ] {
        let found = problem { try reduce(type, weight, data, to: budget) }
        #expect(found?.code == .reduction, "\(type.card.name) \(budget)")
      }
      let empty = try Matrix<Float>(rows: 0, columns: 6, elements: [])
      #expect(problem { try reduce(type, empty, data, to: .parameters(0.5)) }?.code == .reduction)
    }
    #expect(
      problem { try reduce(PlainSVD.self, weight, data, to: .rank(5)) }?.message
        == "svd: rank 5 for a matrix of 4 x 6, which has 1 to 4")
  }

  @Test("NaN in weights and statistics, statistics that do not fit or saw nothing")
  func badData() throws {
    let good = try weight(4, 6, seed: 1)
    var bad = good
    bad[2, 3] = .nan
    let data = try data(9, 6, seed: 2)
    for type in Self.methods {
      #expect(problem { try reduce(type, bad, data, to: .rank(2)) }?.code == .nonFiniteMatrix, "\(type.card.name)")
      #expect(
        problem { try reduce(type, good, self.data(9, 5, seed: 2), to: .rank(2)) }?.code == .matrixShape,
        "\(type.card.name)")
      guard type.needs > .nothing else { continue }
      #expect(problem { try reduce(type, good, to: .rank(2)) }?.code == .reduction, "\(type.card.name)")
      #expect(problem { try reduce(type, good, SiteStatistics(width: 6), to: .rank(2)) }?.code == .reduction)
      guard type.needs == .moment else { continue }
      var without = data
      without.moment = nil
      #expect(problem { try reduce(type, good, without, to: .rank(2)) }?.code == .reduction, "\(type.card.name)")
      var broken = data
      guard case .full(var moment)? = data.moment else { continue }
      moment[1, 0] = .nan
      broken.moment = .full(moment)
      #expect(problem { try reduce(type, good, broken, to: .rank(2)) }?.code == .nonFiniteMatrix)
      broken.moment = .full(try Matrix(rows: 1, columns: 1, elements: [1]))
      #expect(problem { try reduce(type, good, broken, to: .rank(2)) }?.code == .reduction)
    }
    for parameters: [String: ParameterValue] in [["importance": .word("activation")], ["link": .word("outputs")]] {
      #expect(problem { try reduce(CUR.self, good, to: .rank(2), parameters) }?.code == .reduction)
    }
    #expect(problem { try method(CUR.self, ["selection": .word("best")]) }?.code == .reduction)
    #expect(problem { try method(ActivationScaledSVD.self, ["alpha": .number(-1)]) }?.code == .reduction)
  }

  @Test("Every method is registered under its name, and its source is in the bibliography")
  func registered() throws {
    let root = FileSystem.parent(of: FileSystem.parent(of: FileSystem.parent(of: #filePath)))
    let bibliography = String(decoding: try FileSystem.read("\(root)/Docs/bibliography.md"), as: UTF8.self)
    for type in Self.methods {
      #expect(bibliography.contains("| `\(type.card.source)` |"))
      #expect(try ReductionMethods.method(named: type.card.name).card.name == type.card.name)
    }
  }
}
