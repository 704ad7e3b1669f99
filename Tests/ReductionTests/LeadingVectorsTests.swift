import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// What CUR makes of matrices that are too large for a whole decomposition to be worth while.
@Suite struct LeadingVectorsTests {
  /// A sum of `rank` terms that fall off, and noise.
  private func matrix(_ rows: Int, _ columns: Int, rank: Int, noise: Double, seed: UInt64) throws -> Matrix<Double> {
    var left = try Matrix<Double>(Matrix<Float>(random: rows, rank, seed: seed))
    for i in 0..<rows { for j in 0..<rank { left[i, j] *= 4 / Double(1 + j) } }
    let right = try Matrix<Double>(Matrix<Float>(random: rank, columns, seed: seed + 1))
    var product = try MatrixProduct.product(left, right)
    let rest = try Matrix<Float>(random: rows, columns, seed: seed + 2)
    for index in product.elements.indices { product.elements[index] += noise * Double(rest.elements[index]) }
    return product
  }

  @Test(arguments: [1, 95, 96, 97, 200, 301]) func gramFactorsInvert(width: Int) throws {
    let y = try Matrix<Double>(Matrix<Float>(random: width + 60, width, seed: 41))
    let gram = try MatrixProduct.product(y, y, transposingFirst: true)
    let factor = try #require(try GramFactor(gram, parallel: MatrixProduct.serially))
    let identity = try MatrixProduct.product(factor.inverse(MatrixProduct.serially), gram)
    let basis = try MatrixProduct.product(y, factor.upper, transposingSecond: true)
    let overlaps = try MatrixProduct.product(basis, basis, transposingFirst: true)
    for i in 0..<width {
      for j in 0..<width {
        #expect(abs(identity[i, j] - (i == j ? 1 : 0)) < 1e-8)
        #expect(abs(overlaps[i, j] - (i == j ? 1 : 0)) < 1e-10)
      }
    }
  }

  @Test func gramsOfDependentColumnsHaveNone() throws {
    var y = try Matrix<Double>(Matrix<Float>(random: 40, 9, seed: 42))
    for i in 0..<40 { y[i, 7] = y[i, 2] - y[i, 4] }
    let gram = try MatrixProduct.product(y, y, transposingFirst: true)
    #expect(try GramFactor(gram, parallel: MatrixProduct.serially) == nil)
  }

  /// Where the values fall off clearly, the vectors are those of the whole decomposition.
  @Test(arguments: [(300, 420), (420, 300)]) func vectorsAreTheLeadingOnes(rows: Int, columns: Int) throws {
    let matrix = try matrix(rows, columns, rank: 20, noise: 0.02, seed: 43)
    let exact = try LinearAlgebra.svd(matrix)
    let found = try LeadingVectors(of: matrix, rank: 20, parallel: MatrixProduct.serially)
    #expect(found.values == nil)
    for r in 0..<20 {
      let left = (0..<rows).reduce(0) { $0 + found.left[$1, r] * exact.u[$1, r] }
      let right = (0..<columns).reduce(0) { $0 + found.right[$1, r] * exact.vTransposed[r, $1] }
      #expect(abs(abs(left) - 1) < 1e-6 && abs(abs(right) - 1) < 1e-6, "\(r)")
      // A pair belongs together, its sign too.
      #expect(left * right > 0)
    }
  }

  @Test func smallMatricesAndHighRanksAreExact() throws {
    for (rows, columns, rank) in [(159, 300, 20), (300, 300, 191)] {
      let matrix = try matrix(rows, columns, rank: 30, noise: 0.1, seed: 44)
      let found = try LeadingVectors(of: matrix, rank: rank, parallel: MatrixProduct.serially)
      #expect(try found.values == LinearAlgebra.svd(matrix).values)
    }
  }

  /// A matrix of fewer directions than are asked for has no basis of a projection; the decomposition takes over.
  @Test func matricesOfLowRankAreExact() throws {
    let matrix = try matrix(280, 300, rank: 12, noise: 0, seed: 45)
    let found = try LeadingVectors(of: matrix, rank: 30, parallel: MatrixProduct.serially)
    #expect(found.values?.count == 280)
  }

  /// Columns and rows chosen by such vectors do about as well as those chosen by exact ones, beyond a block of products.
  @Test(arguments: [40, 120], ["deim", "leverage"]) func choicesAreAsGood(rank: Int, selection: String) throws {
    let wide = try matrix(320, 360, rank: 60, noise: 0.3, seed: 46)
    let weight = Matrix<Float>(wide)
    let pool = WorkerPool(threads: 3)
    defer { pool.stop() }
    let method = try CUR.make(["selection": .word(selection)])
    let reduced = try method.reduce(weight, nil, to: .rank(rank), parallel: MatrixProduct.serially)
    let shared = try method.reduce(weight, nil, to: .rank(rank), parallel: pool.forEach)
    guard case .cur(let c, let u, let r, let columns, _) = reduced.form,
      case .cur(_, let other, _, columns, _) = shared.form
    else { throw Problem(.reduction, "no CUR, or another choice") }
    #expect(u.bits == other.bits)
    #expect(c == weight.selecting(columns: columns) && r.rows == rank)
    #expect(reduced.certificate.floor == nil)

    let svd = try LinearAlgebra.svd(Matrix<Double>(weight))
    let chosen = Array(0..<rank)
    let choice: CUR.Selection = selection == "deim" ? .interpolation : .leverage
    let exactColumns = try choice.points(
      of: svd.vTransposed.selecting(rows: chosen).transposed, parallel: MatrixProduct.serially)
    let exactRows = try choice.points(of: svd.u.selecting(columns: chosen), parallel: MatrixProduct.serially)
    let exact = try CURLink.fitted(
      Matrix<Double>(weight.selecting(columns: exactColumns)), Matrix<Double>(weight),
      Matrix<Double>(weight.selecting(rows: exactRows)), parallel: MatrixProduct.serially)
    let changed = try Factors.product(
      [weight.selecting(columns: exactColumns), Matrix<Float>(exact), weight.selecting(rows: exactRows)],
      parallel: MatrixProduct.serially)
    let error = try OutputError.certificate(of: changed, original: weight, statistics: nil).error
    #expect(reduced.certificate.error < 1.05 * error, "\(reduced.certificate.error) against \(error)")
  }

  /// The link by normal equations is the one by singular values.
  @Test func linksAreThoseOfLeastSquares() throws {
    let a = try matrix(150, 170, rank: 40, noise: 0.2, seed: 47)
    let (columns, rows) = ((0..<110).map { $0 + 13 }, (0..<110).map { $0 + 20 })
    let (c, r) = (a.selecting(columns: columns), a.selecting(rows: rows))
    let found = try CURLink.fitted(c, a, r, parallel: MatrixProduct.serially)
    let half = try LinearAlgebra.leastSquares(c, a)
    let exact = try LinearAlgebra.leastSquares(r.transposed, half.transposed).transposed
    let scale = exact.elements.reduce(0) { max($0, abs($1)) }
    for (x, y) in zip(found.elements, exact.elements) { #expect(abs(x - y) < 1e-9 * scale) }
  }
}
