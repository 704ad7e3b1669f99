import CKernels
import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// The kernels of pruning against what they stand for, written out.
@Suite struct PruningKernelTests {
  /// Smooth values, ones that come in runs, a few different ones, and a heavy tail.
  private func samples(_ count: Int, seed: UInt64) -> [[Double]] {
    var generator = SeededGenerator(seed: seed)
    let smooth = generator.floats(count).map(Double.init)
    return [
      smooth, smooth.indices.map { Double($0 / 7) }, smooth.map { ($0 * 2).rounded() },
      smooth.map { 1 / ($0 * $0 + 1e-9) },
    ]
  }

  @Test(arguments: [1, 2, 3, 31, 63, 64, 65, 100, 159, 576, 1536, 5000, 70_001])
  func leastValuesAreThoseOfASort(count: Int) {
    for values in samples(count, seed: UInt64(count)) {
      let order = values.indices.sorted { (values[$0], $0) < (values[$1], $1) }
      for wanted in [0, 1, count / 3, count / 2, count - 1, count] {
        var marks = [UInt8](repeating: 7, count: count)
        values.withUnsafeBufferPointer { values in
          marks.withUnsafeMutableBufferPointer { OrderStatistic.markLeast(wanted, of: values, $0.baseAddress!) }
        }
        var expected = [UInt8](repeating: 0, count: count)
        for index in order.prefix(wanted) { expected[index] = 1 }
        #expect(marks == expected, "\(wanted) of \(count)")
        let rank = min(wanted, count - 1)
        #expect(values.withUnsafeBufferPointer { OrderStatistic.value(ofRank: rank, in: $0) } == values[order[rank]])
      }
    }
  }

  @Test(arguments: [0, 1, 7, 8, 9, 64, 1003]) func keepingGoesAsItsTwin(count: Int) {
    for values in samples(count, seed: 51) {
      let sorted = values.sorted()
      for (low, high) in [
        (-Double.infinity, Double.infinity), (0.2, 0.7), (sorted.first ?? 0, sorted.last ?? 0), (2, 1),
      ] {
        var (below, expectedBelow): (Int64, Int64) = (-1, -1)
        var (kept, expected) = ([Double](repeating: 9, count: count + 8), [Double](repeating: 9, count: count + 8))
        let number = es_prune_keep_between(values, Int64(count), low, high, &below, &kept)
        let wanted = es_prune_keep_between_portable(values, Int64(count), low, high, &expectedBelow, &expected)
        #expect(number == wanted && below == expectedBelow)
        #expect(kept.prefix(Int(number)) == expected.prefix(Int(wanted)))
        #expect(Array(expected.prefix(Int(wanted))) == values.filter { $0 >= low && $0 <= high })
        #expect(Int(below) == values.count { $0 < low })
        // In place.
        var moved = values + [0]
        let again = moved.withUnsafeMutableBufferPointer {
          es_prune_keep_between($0.baseAddress!, Int64(count), low, high, &below, $0.baseAddress!)
        }
        #expect(moved.prefix(Int(again)) == expected.prefix(Int(wanted)))
      }
    }
  }

  @Test(arguments: [1, 2, 4, 5, 8, 16, 33]) func groupsLoseTheirLeast(of: Int) {
    for values in samples(5 * of, seed: 52) {
      for drop in Set([0, 1, of / 2, of]) {
        var marks = [UInt8](repeating: 7, count: values.count)
        es_prune_mark_least_of_groups(values, Int64(values.count), Int64(of), Int64(drop), &marks)
        for first in stride(from: 0, to: values.count, by: of) {
          let order = (first..<first + of).sorted { (values[$0], $0) < (values[$1], $1) }
          #expect((first..<first + of).filter { marks[$0] == 1 } == order.prefix(drop).sorted())
        }
      }
    }
  }

  /// Eight rows at once, fewer, and odd widths: to the bit what a row alone comes to.
  @Test(arguments: [(5, 3), (32, 8), (130, 8), (64, 1)]) func sweepsGoRowByRow(width: Int, rows: Int) throws {
    var generator = SeededGenerator(seed: 53)
    var u = generator.floats(width * width).map { Double($0) * 0.2 }
    for i in 0..<width {
      for j in 0..<i { u[i * width + j] = 0 }
      u[i * width + i] = 0.5 + abs(u[i * width + i])
    }
    let weights = generator.floats(rows * width).map(Double.init)
    for (cut, drop, of) in [(0.3, 0, 0), (0, 2, 4), (0, 3, 5), (0, 1, 2), (0, 4, 8)] where of == 0 || width % of == 0 {
      var swept = weights
      var room = [Double](repeating: .nan, count: 32 * width)
      let place = es_sweep_place(rows: Int64(rows), row: 0, column: 0)
      es_prune_sweep(&swept, place, Int64(width), u, cut, Int64(drop), Int64(of), nil, &room)
      for i in 0..<rows {
        let row = Self.swept(Array(weights[i * width..<(i + 1) * width]), u, cut: cut, drop: drop, of: of)
        #expect(Array(swept[i * width..<(i + 1) * width]) == row, "\(drop) of \(of), row \(i)")
      }
    }
  }

  private static func swept(_ weights: [Double], _ u: [Double], cut: Double, drop: Int, of: Int) -> [Double] {
    let n = weights.count
    var w = weights
    func score(_ i: Int) -> Double { w[i] * w[i] / (u[i * n + i] * u[i * n + i]) }
    var gone = w.indices.map { of == 0 && score($0) <= cut }
    for i in 0..<n {
      if of > 0, i % of == 0 {
        let scores = (i..<i + of).map { (score($0), $0) }
        for (_, index) in scores.sorted(by: <).prefix(drop) { gone[index] = true }
      }
      guard gone[i] else { continue }
      let error = w[i] / u[i * n + i]
      for j in i + 1..<max(n, i + 1) { w[j] -= error * u[i * n + j] }
      w[i] = 0
    }
    return w
  }

  @Test(arguments: [(0, 5), (7, 9), (64, 64), (65, 30)]) func transposesExchange(rows: Int, columns: Int) {
    var generator = SeededGenerator(seed: 54)
    let source = generator.floats(rows * (columns + 3) + columns).map(Double.init)
    var target = [Float](repeating: 9, count: columns * (rows + 2))
    es_prune_transpose(source, Int64(columns + 3), Int64(rows), Int64(columns), &target, Int64(rows + 2))
    for i in 0..<rows {
      for j in 0..<columns { #expect(target[j * (rows + 2) + i] == Float(source[i * (columns + 3) + j])) }
    }
    for j in 0..<columns { #expect(target[j * (rows + 2) + rows] == 9) }
  }

  /// The errors of outputs by panels, against the sums written out; shapes on both sides of a panel.
  @Test(arguments: [(1, 1), (95, 97), (96, 96), (200, 193)]) func squaresOfOutputs(rows: Int, columns: Int) throws {
    let (w, v) = (
      try Matrix<Float>(random: rows, columns, seed: 55), try Matrix<Float>(random: rows, columns, seed: 56)
    )
    let statistics = try SiteStatistics(of: correlatedInputs(columns + 30, columns, seed: 57))
    guard case .full(let moment)? = statistics.moment else { throw Problem(.reduction, "no moment") }
    let squares = OutputSquares(original: w, changed: v)
    func plain(_ g: (Int, Int) -> Double) -> (error: Double, whole: Double) {
      var (error, whole) = (0.0, 0.0)
      for i in 0..<rows {
        for j in 0..<columns {
          for k in 0..<columns {
            let weight = g(j, k)
            guard weight != 0 else { continue }
            let (a, b) = (Double(w[i, j]), Double(w[i, k]))
            error += (a - Double(v[i, j])) * weight * (b - Double(v[i, k]))
            whole += a * weight * b
          }
        }
      }
      return (error, whole)
    }
    func near(_ found: (error: Double, whole: Double), _ expected: (error: Double, whole: Double)) -> Bool {
      abs(found.error - expected.error) < 1e-11 * expected.error
        && abs(found.whole - expected.whole) < 1e-11 * expected.whole
    }
    let pool = WorkerPool(threads: 3)
    defer { pool.stop() }
    let full = try squares.sums(moment: moment, MatrixProduct.serially)
    #expect(near(full, plain { moment[$0, $1] }))
    #expect(try squares.sums(moment: moment, pool.forEach) == full)
    #expect(
      near(
        try squares.sums(weights: statistics.squareSums, pool.forEach),
        plain { $0 == $1 ? statistics.squareSums[$0] : 0 }))
    #expect(near(try squares.sums(weights: nil, MatrixProduct.serially), plain { $0 == $1 ? 1 : 0 }))
  }
}
