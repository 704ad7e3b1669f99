import CKernels
import EspalierNumerics
import Testing

@testable import EspalierNetworks

/// Kernels that walk along a sequence, against the recurrences written down plainly in float64.
@Suite struct ScanTests {
  /// Numbers without a pattern, between -1 and 1.
  private func numbers(_ count: Int, _ seed: Int) -> [Float] {
    (0..<count).map { Float(($0 * 7919 + seed * 104_729 + $0 * $0 * 31) % 2003) / 1001.5 - 1 }
  }

  private func softplus(_ x: Float) -> Double { Elementary.log(1 + Elementary.exp(Double(x))) }

  private func close(_ found: [Float], _ expected: [Double]) -> Bool {
    zip(found, expected).allSatisfy { abs(Double($0) - $1) <= 2e-6 * (1 + abs($1)) }
  }

  /// States that fill no whole row of lanes, one row, and more.
  @Test(arguments: [1, 5, 16, 20, 33])
  func selectiveScan(states: Int) {
    let (rows, width, padded) = (9, 7, scanRow(states))
    let (u, step) = (numbers(rows * width, 1), numbers(rows * width, 2))
    let (b, c) = (numbers(rows * states, 3), numbers(rows * states, 4))
    let (decay, skip) = (numbers(width * states, 5).map { $0 - 1.5 }, numbers(width, 6))
    var expected = [Double](repeating: 0, count: rows * width)
    for channel in 0..<width {
      var h = [Double](repeating: 0, count: states)
      for t in 0..<rows {
        let (x, d) = (Double(u[t * width + channel]), softplus(step[t * width + channel]))
        var y = Double(skip[channel]) * x
        for n in 0..<states {
          h[n] = Elementary.exp(d * Double(decay[channel * states + n])) * h[n] + d * x * Double(b[t * states + n])
          y += h[n] * Double(c[t * states + n])
        }
        expected[t * width + channel] = y
      }
    }
    /// Runs the rows in pieces, and the channels in two groups.
    func run(_ pieces: [Int]) -> [Float] {
      var out = [Float](repeating: .nan, count: rows * width)
      var state = [Float](repeating: 0, count: width * padded)
      var first = 0
      for piece in pieces {
        var sizes = es_scan_sizes(rows: Int64(piece), width: Int64(width), states: Int64(states))
        for channels in [0..<3, 3..<width] {
          out.withUnsafeMutableBufferPointer { out in
            es_selective_scan(
              &sizes, Array(u[(first * width)...]), Array(step[(first * width)...]), Array(b[(first * states)...]),
              Array(c[(first * states)...]), decay, skip, &state, out.baseAddress! + first * width,
              Int64(channels.lowerBound), Int64(channels.upperBound))
          }
        }
        first += piece
      }
      return out
    }
    #expect(close(run([rows]), expected))
    #expect(run([1, 5, 3]) == run([rows]))
  }

  @Test(arguments: [1, 16, 20])
  func headScan(states: Int) {
    let (rows, heads, headWidth, groups, padded) = (8, 6, 3, 2, scanRow(states))
    let width = heads * headWidth
    let (u, step, bias) = (numbers(rows * width, 1), numbers(rows * heads, 2), numbers(heads, 3))
    let (b, c) = (numbers(rows * groups * states, 4), numbers(rows * groups * states, 5))
    let (decay, skip) = (numbers(heads, 6).map { $0 - 1.5 }, numbers(heads, 7))
    var sizes = es_head_scan_sizes(
      rows: Int64(rows), heads: Int64(heads), head_width: Int64(headWidth), groups: Int64(groups),
      states: Int64(states), low: 0.4, high: 0.9)
    var out = [Float](repeating: .nan, count: rows * width)
    var expected = [Double](repeating: 0, count: rows * width)
    for head in 0..<heads {
      var state = [Float](repeating: 0, count: headWidth * padded)
      es_head_scan(&sizes, u, step, bias, b, c, decay, skip, &state, &out, Int64(head))
      let group = head / 3
      for p in 0..<headWidth {
        var h = [Double](repeating: 0, count: states)
        for t in 0..<rows {
          let d = min(max(softplus(step[t * heads + head] + bias[head]), Double(Float(0.4))), Double(Float(0.9)))
          let x = Double(u[t * width + head * headWidth + p])
          var y = Double(skip[head]) * x
          for n in 0..<states {
            let place = (t * groups + group) * states + n
            h[n] = Elementary.exp(d * Double(decay[head])) * h[n] + d * x * Double(b[place])
            y += h[n] * Double(c[place])
          }
          expected[t * width + head * headWidth + p] = y
        }
      }
    }
    #expect(close(out, expected))
  }

  /// Worked by hand: channel 0 adds a token to twice the one before, channel 1 takes the token before that.
  @Test func causalConvolution() {
    let x: [Float] = [1, 10, 2, 20, 3, 30, 4, 40]
    let taps: [Float] = [0, 1, 2, 0, 1, 0]
    let expected: [Float] = [1.5, 0, 4.5, 0, 7.5, 10, 10.5, 20]
    for pieces in [[4], [1, 3], [3, 1], [1, 1, 1, 1], [2, 2]] {
      var before = [Float](repeating: 0, count: 4)
      var out = [Float](repeating: .nan, count: 8)
      var row = 0
      for piece in pieces {
        out.withUnsafeMutableBufferPointer { out in
          es_causal_convolution(
            Array(x[(row * 2)...]), taps, [0.5, 0], &before, out.baseAddress! + row * 2, Int64(piece), 2, 3, 0, 2)
        }
        row += piece
      }
      #expect(out == expected, "\(pieces)")
      #expect(before == [3, 30, 4, 40], "\(pieces)")
    }
  }
}
