import CKernels
import EspalierNumerics
import Testing

@testable import EspalierNetworks

/// Elementary functions, norms and attention against float64.
@Suite struct KernelTests {
  /// The largest error in units of the last place over arguments from `range`.
  private func worst(
    _ function: es_activation, _ range: ClosedRange<Double>, _ exact: (Double) -> Double
  ) -> Double {
    let count = 200_000
    let x = (0..<count).map {
      Float(range.lowerBound + (range.upperBound - range.lowerBound) * Double($0) / Double(count - 1))
    }
    var y = [Float](repeating: 0, count: count)
    es_activate(function, x, &y, Int64(count))
    return zip(x, y).reduce(0) { worst, pair in
      let wanted = exact(Double(pair.0))
      return max(worst, abs(Double(pair.1) - wanted) / Double(max(abs(Float(wanted)), 1e-30).ulp))
    }
  }

  private func exp(_ x: Double) -> Double { Elementary.exp(x) }

  @Test func elementaryFunctionsStayWithinTheirErrors() {
    func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }
    func tanh(_ x: Double) -> Double {
      let a = exp(-2 * abs(x))
      return (x < 0 ? -1 : 1) * (abs(x) < 1e-3 ? abs(x) - abs(x * x * x) / 3 : (1 - a) / (1 + a))
    }
    func softplus(_ x: Double) -> Double {
      let u = exp(-abs(x))
      return max(x, 0) + (u < 1e-8 ? u : Elementary.log(1 + u))
    }
    #expect(worst(es_activation.sigmoid, -80...80, sigmoid) <= 3)
    #expect(worst(es_activation.tanh, -12...12, tanh) <= 3)
    #expect(worst(es_activation.tanh, -0.7...0.7, tanh) <= 3)
    #expect(worst(es_activation.softplus, -60...60, softplus) <= 4)
    #expect(worst(es_activation.silu, -60...60) { $0 * sigmoid($0) } <= 4)
  }

  /// erf by its series, which needs many terms but no library.
  private func erf(_ x: Double) -> Double {
    if abs(x) > 5.9 { return x < 0 ? -1 : 1 }
    var (term, sum, n) = (x, x, 0.0)
    while abs(term) > 1e-18 * abs(sum) {
      n += 1
      term *= -x * x / n
      sum += term / (2 * n + 1)
    }
    return 2 / Double.pi.squareRoot() * sum
  }

  /// GELU cancels where it is small, so its error is measured against its argument.
  @Test func geluIsExactToTheLastPlacesOfItsArgument() {
    let count = 100_000
    let x = (0..<count).map { Float(-6 + 12 * Double($0) / Double(count - 1)) }
    var (exact, byTanh) = ([Float](repeating: 0, count: count), [Float](repeating: 0, count: count))
    es_activate(es_activation.gelu, x, &exact, Int64(count))
    es_activate(es_activation.gelu_tanh, x, &byTanh, Int64(count))
    for (index, argument) in x.enumerated() {
      let a = Double(argument)
      let unit = Double(max(abs(argument), 1e-6).ulp)
      #expect(abs(Double(exact[index]) - a * (1 + erf(a / 2.0.squareRoot())) / 2) <= 2 * unit)
      let y = (2 / Double.pi).squareRoot() * (a + 0.044715 * a * a * a)
      #expect(abs(Double(byTanh[index]) - a / (1 + exp(-2 * y))) <= 2 * unit)
    }
  }

  @Test func endsOfTheRange() {
    let x: [Float] = [.nan, .infinity, -.infinity, 0, 200, -200]
    var y = x
    es_activate(es_activation.sigmoid, x, &y, 6)
    #expect(y[0].isNaN && y[1...].elementsEqual([1, 0, 0.5, 1, 0]))
    es_activate(es_activation.tanh, x, &y, 6)
    #expect(y[0].isNaN && y[1...].elementsEqual([1, -1, 0, 1, -1]))
    es_activate(es_activation.softplus, x, &y, 6)
    #expect(y[0].isNaN && y[1] == .infinity && y[2] == 0 && y[4] == 200 && y[5] < 1e-38)
    es_activate(es_activation.relu, x, &y, 6)
    #expect(y[0].isNaN && y[1...].elementsEqual([.infinity, 0, 0, 200, 0]))
  }

  @Test(arguments: [1, 7, 16, 48, 100])
  func normsAgreeWithFloat64(width: Int) throws {
    let rows = 3
    var values = [Float](repeating: 0, count: rows * width)
    KeyedRandom(seed: 1, name: "norms").normals(startingAt: 0, into: &values, count: values.count)
    var weights = [Float](repeating: 0, count: 2 * width)
    KeyedRandom(seed: 1, name: "weights").normals(startingAt: 0, into: &weights, count: weights.count)
    let bias = Array(weights[width...])
    var rms = values
    es_rms_norm(values, weights, 1e-3, &rms, Int64(rows), Int64(width))
    var layer = values
    es_layer_norm(values, weights, bias, 1e-3, &layer, Int64(rows), Int64(width))
    for row in 0..<rows {
      let x = values[row * width..<(row + 1) * width].map(Double.init)
      let mean = x.reduce(0, +) / Double(width)
      let square = x.reduce(0) { $0 + $1 * $1 } / Double(width)
      let variance = x.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(width)
      for index in 0..<width {
        let (w, b) = (Double(weights[index]), Double(bias[index]))
        let wantedRMS = x[index] / (square + Double(Float(1e-3))).squareRoot() * w
        let wantedLayer = (x[index] - mean) / (variance + Double(Float(1e-3))).squareRoot() * w + b
        #expect(abs(Double(rms[row * width + index]) - wantedRMS) <= 1e-6)
        #expect(abs(Double(layer[row * width + index]) - wantedLayer) <= 2e-6)
      }
    }
  }

  /// Any number of queries together, over two pages, with keys that some do not see and that hold no numbers.
  @Test(arguments: [8, 16, 24, 64, 80])
  func attentionAgreesWithFloat64AndWithEachQueryAlone(width: Int) throws {
    let page = Int(ES_ATTENTION_PAGE)
    var numbers = [Float](repeating: 0, count: (11 + 4 * page) * width)
    KeyedRandom(seed: 2, name: "attention").normals(startingAt: 0, into: &numbers, count: numbers.count)
    let queries = Array(numbers[..<(11 * width)])
    let keys = (0..<2).map { Array(numbers[(11 + $0 * page) * width..<(11 + ($0 + 1) * page) * width]) }
    var values = (2..<4).map { Array(numbers[(11 + $0 * page) * width..<(11 + ($0 + 1) * page) * width]) }
    // Behind what anyone sees.
    for index in 60 * width..<page * width { values[1][index] = .nan }
    let attention = es_attention(key_width: Int64(width), value_width: Int64(width), scale: 0.3, softcap: 2)
    func run(_ rows: Range<Int>) -> [Float] {
      var out = [Float](repeating: 0, count: rows.count * width)
      queries.withUnsafeBufferPointer { queries in
        out.withUnsafeMutableBufferPointer { out in
          var all = rows.map { row in
            es_attention_query(
              query: queries.baseAddress! + row * width, bias: nil,
              out: out.baseAddress! + (row - rows.lowerBound) * width, first: Int64(3 * row), last: 64,
              maximum: -.infinity, sum: 0)
          }
          withUnsafePointer(to: attention) { es_attention_page($0, Int64(all.count), &all, keys[0], values[0]) }
          for index in all.indices { (all[index].first, all[index].last) = (0, Int64(50 + rows.lowerBound + index)) }
          withUnsafePointer(to: attention) { es_attention_page($0, Int64(all.count), &all, keys[1], values[1]) }
          for query in all { es_attention_finish(query.sum, query.out, Int64(width)) }
        }
      }
      return out
    }
    let together = run(0..<10)
    for row in 0..<10 {
      #expect(run(row..<row + 1).elementsEqual(together[row * width..<(row + 1) * width]))
      var (weights, sum) = ([(page: Int, key: Int, weight: Double)](), 0.0)
      for (number, range) in [3 * row..<64, 0..<50 + row].enumerated() {
        for key in range {
          let product = (0..<width).reduce(0.0) {
            $0 + Double(queries[row * width + $1]) * Double(keys[number][$1 * page + key])
          }
          let score = 0.3 * product
          let e = exp(-score)
          let capped = 2 * (1 - e) / (1 + e)
          weights.append((number, key, exp(capped)))
          sum += exp(capped)
        }
      }
      for index in 0..<width {
        let wanted = weights.reduce(0.0) { $0 + $1.weight * Double(values[$1.page][$1.key * width + index]) } / sum
        #expect(abs(Double(together[row * width + index]) - wanted) <= 1e-6)
      }
    }
  }
}
