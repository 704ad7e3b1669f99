import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@Suite("Factorizations against an independent implementation")
struct FactorizationGoldenTests {
  func reduce(
    _ method: any ReductionMethod.Type, _ golden: FactorizationGolden, rank: Int,
    _ parameters: [String: ParameterValue] = [:]
  ) throws -> ReducedMatrix {
    try method.init(ReductionParameters(parameters, for: method.card)).reduce(
      golden.weight, golden.statistics, to: .rank(rank), parallel: MatrixProduct.serially)
  }

  /// The three ranks at which the other implementation has `name`, each with what our method makes of the weight.
  func cases(
    _ name: String, centered: Bool? = nil, _ method: any ReductionMethod.Type, _ golden: FactorizationGolden,
    _ parameters: [String: ParameterValue] = [:]
  ) throws -> [(FactorizationGolden.Case, ReducedMatrix)] {
    let cases = golden.cases(of: name, centered: centered)
    #expect(cases.count == 3)
    return try cases.map { ($0, try reduce(method, golden, rank: $0.rank, parameters)) }
  }

  func near(_ found: Double, _ expected: Double) -> Bool { abs(found - expected) <= 1e-4 * expected }

  @Test("Plain singular values", arguments: FactorizationGolden.names)
  func plain(name: String) throws {
    let golden = try FactorizationGolden(name)
    for (entry, reduced) in try cases("svd", PlainSVD.self, golden) {
      #expect(near(reduced.certificate.error, entry.error), "\(entry.name): \(reduced.certificate.error)")
      #expect(reduced.certificate.kind == .measured)
    }
    let values = try SpectralCut(golden.weight).singularValues
    for (value, expected) in zip(values, golden.array("svd.singular_values")) {
      #expect(abs(value - expected) < 1e-12 * (values.first ?? 1))
    }
  }

  @Test(
    "Whitened singular values reach the optimum and go no lower, singular moments too",
    arguments: FactorizationGolden.names)
  func whitened(name: String) throws {
    let golden = try FactorizationGolden(name)
    for (entry, reduced) in try cases("whitened_svd", WhitenedSVD.self, golden) {
      let certificate = reduced.certificate
      let optimum = try #require(entry.optimum)
      #expect(near(certificate.error, entry.error), "\(entry.name): \(certificate.error)")
      #expect(certificate.error > optimum * (1 - 1e-6))
      #expect(abs(try #require(certificate.floor) - optimum) < 1e-9 * optimum)
      // The outputs themselves, without the moment.
      let direct = try outputError(golden, reduced: reduced)
      #expect(near(direct, entry.error) && direct > optimum * (1 - 1e-6))
    }
  }

  @Test("Where the moment is regular there is one optimum, and it is this one")
  func regular() throws {
    let golden = try FactorizationGolden("p64x96")
    for rank in [8, 16, 32] {
      guard case .factors(let left, let right) = try reduce(WhitenedSVD.self, golden, rank: rank).form else { continue }
      let found = try MatrixProduct.product(Matrix<Double>(left), Matrix<Double>(right)).elements
      let expected = golden.array("whitened_svd_r\(rank).Wp")
      #expect(expected.count == found.count)
      #expect(zip(found, expected).allSatisfy { abs($0 - $1) < 1e-6 })
    }
  }

  /// ‖X (W - W')ᵀ - 1 shiftᵀ‖ / ‖X Wᵀ + 1 biasᵀ‖.
  func outputError(
    _ golden: FactorizationGolden, reduced: ReducedMatrix, shift: [Float]? = nil, bias: [Double]? = nil
  ) throws -> Double {
    guard case .factors(let left, let right) = reduced.form else { return .infinity }
    let whole = try MatrixProduct.product(golden.inputs, Matrix<Double>(golden.weight), transposingSecond: true)
    let inner = try MatrixProduct.product(golden.inputs, Matrix<Double>(right), transposingSecond: true)
    let less = try MatrixProduct.product(inner, Matrix<Double>(left), transposingSecond: true)
    var (error, reference) = (0.0, 0.0)
    for i in 0..<whole.rows {
      for o in 0..<whole.columns {
        let d = whole[i, o] - less[i, o] - Double(shift?[o] ?? 0)
        let y = whole[i, o] + (bias?[o] ?? 0)
        error += d * d
        reference += y * y
      }
    }
    return (error / reference).squareRoot()
  }

  @Test("Principal components of the outputs", arguments: FactorizationGolden.names)
  func principalComponents(name: String) throws {
    let golden = try FactorizationGolden(name)
    for (entry, reduced) in try cases("feature_pca", centered: false, FeaturePCA.self, golden) {
      let error = reduced.certificate.error
      #expect(near(error, entry.error), "\(entry.name): \(error)")
      #expect(error > entry.error * (1 - 1e-6))
    }
  }

  @Test("Principal components around the mean, which goes into the bias", arguments: FactorizationGolden.names)
  func centered(name: String) throws {
    let golden = try FactorizationGolden(name)
    let reductions = try cases("feature_pca", centered: true, FeaturePCA.self, golden, ["center": .flag(true)])
    for (entry, reduced) in reductions {
      let shift = try #require(reduced.outputShift)
      #expect(near(try outputError(golden, reduced: reduced), entry.error), "\(entry.name)")
      let affine = try outputError(golden, reduced: reduced, shift: shift, bias: golden.bias)
      #expect(near(affine, try #require(entry.affineError)), "\(entry.name): \(affine)")
      #expect(near(try outputError(golden, reduced: reduced, shift: shift), reduced.certificate.error))
      #expect(near(try #require(reduced.certificate.floor), reduced.certificate.error))
      for (o, expected) in golden.array("\(entry.name).bias_p").enumerated() {
        #expect(abs(golden.bias[o] + Double(shift[o]) - expected) < 1e-5, "\(entry.name) bias \(o)")
      }
    }
  }

  @Test("Columns and rows by empirical interpolation", arguments: FactorizationGolden.names)
  func columnsAndRows(name: String) throws {
    let golden = try FactorizationGolden(name)
    for (entry, reduced) in try cases("cur", CUR.self, golden) {
      guard case .cur(_, _, _, let columns, let rows) = reduced.form else {
        Issue.record("\(entry.name) is no CUR")
        continue
      }
      #expect(columns == golden.integers("\(entry.name).columns"))
      #expect(rows == golden.integers("\(entry.name).rows"))
      #expect(near(reduced.certificate.error, entry.error), "\(entry.name): \(reduced.certificate.error)")
    }
  }

  @Test("Columns alone", arguments: FactorizationGolden.names)
  func columnsAlone(name: String) throws {
    let golden = try FactorizationGolden(name)
    for (entry, reduced) in try cases("cid", ColumnInterpolation.self, golden) {
      #expect(near(reduced.certificate.error, entry.error), "\(entry.name): \(reduced.certificate.error)")
      guard case .factors(let left, _) = reduced.form else { continue }
      #expect(left == golden.weight.selecting(columns: golden.integers("\(entry.name).columns")))
    }
  }

  @Test("At equal rank: whitened below scaled below plain", arguments: FactorizationGolden.names)
  func order(name: String) throws {
    let golden = try FactorizationGolden(name)
    for rank in [8, 16, 32] {
      let plain = try reduce(PlainSVD.self, golden, rank: rank).certificate.error
      let scaled = try reduce(ActivationScaledSVD.self, golden, rank: rank).certificate.error
      let weighted = try reduce(ActivationWeightedSVD.self, golden, rank: rank).certificate.error
      let whitened = try reduce(WhitenedSVD.self, golden, rank: rank).certificate.error
      #expect(whitened < scaled && whitened < weighted && scaled < plain, "\(rank)")
    }
  }
}
