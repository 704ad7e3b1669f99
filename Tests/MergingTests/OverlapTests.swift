import EspalierBasics
import EspalierMerging
import EspalierNumerics
import Testing

@Suite struct RamTests {
  @Test func byHand() throws {
    // Element 0: changed by nobody; 1: by the first alone, whole; 2: by both, (2 + 4)/2; 3: the second's is too small.
    let inputs: [[Float]] = [[1, 1, 1, 1], [1, 3, 3, 0], [1, 1, 5, 1.000001]]
    #expect(try TestMerge("ram", inputs).result() == [1, 3, 4, 0])
  }

  /// The threshold itself counts as unchanged.
  @Test func thresholdIsUnchanged() throws {
    let inputs: [[Float]] = [[0, 0], [0.25, 0.5]]
    #expect(try TestMerge("ram", inputs, ["epsilon": .number(0.25)]).result() == [0, 0.5])
  }

  @Test func plusByHand() throws {
    // The first model has one unique change and two shared: 2/1, clamped to alpha 0.5: lambda = 1 + 0.5 * 0.5 = 1.25.
    // The second has two unique and two shared: 2/2, clamped: 1.25.
    let inputs: [[Float]] = [[0, 0, 0, 0, 0], [4, 2, 2, 0, 0], [0, 4, 6, 8, 4]]
    let merge = TestMerge("ramplus_tl", inputs, ["r": .number(0.5), "alpha": .number(0.5)])
    #expect(try merge.result() == [5, 3, 4, 10, 5])
  }

  /// Without unique changes the divisor is epsilon, and the clamp decides; nothing is enlarged all the same.
  @Test func plusWithoutUniqueChanges() throws {
    let inputs: [[Float]] = [[0, 0], [2, 4], [4, 2]]
    #expect(try TestMerge("ramplus_tl", inputs).result() == [3, 3])
  }
}

@Suite struct SceTests {
  /// Mean squares that sum to less than 1e-6 weigh the models the same: 1e-4 and 3e-4 give 2e-4, not 2.8e-4.
  @Test func smallChangesWeighTheSame() throws {
    #expect(try TestMerge("sce", [[0], [1e-4], [3e-4]]).result().ulps(from: [2e-4]) <= 1)
    // (1 * 1 + 9 * 3) / 10 = 2.8
    #expect(try TestMerge("sce", [[0], [1], [3]]).result().ulps(from: [2.8]) <= 1)
  }

  @Test func minoritySignsAreErased() throws {
    // Sums 1 and -1; squares (9 + 1)/2 and (4 + 4)/2 weigh 5/9 and 4/9, but each element has one model that agrees.
    #expect(try TestMerge("sce", [[0, 0], [3, 1], [-2, -2]]).result().ulps(from: [3, -2]) <= 1)
  }

  /// Variances 0, 1, 4, 0: two differ, int(0.5 * 2) = 1 is kept. At 0 nothing is.
  @Test func selectsWhereModelsDiffer() throws {
    let inputs: [[Float]] = [[0, 0, 0, 0], [1, 3, 5, 0], [1, 1, 1, 0]]
    // Kept: 5 and 1, mean squares 25/4 and 1/4: (25 * 5 + 1) / 26.
    let half = try TestMerge("sce", inputs, ["select_topk": .number(0.5)]).result()
    #expect(half.ulps(from: [0, 0, 126.0 / 26, 0]) <= 1)
    #expect(try TestMerge("sce", inputs, ["select_topk": .number(0)]).result() == [0, 0, 0, 0])
  }
}

@Suite struct ArceeFusionTests {
  /// One row of four, of which one changed: importances (0, 0, 0, 1) * KL; quartiles and median 0, so the threshold is
  /// 0 and every element is taken.
  @Test func byHand() throws {
    #expect(try TestMerge("arcee_fusion", [[0, 1, 0, 1], [0, 1, 0, 2]]).result() == [0, 1, 0, 2])
  }

  @Test func equalInputsComeOutUnchanged() throws {
    let values = fineTunes(5000, models: 0, seed: 1)[0]
    #expect(try TestMerge("arcee_fusion", [values, values], shape: [50, 100]).result() == values)
  }

  /// Softmax, divergence and quantiles in float64: every element whose importance is off the threshold by more than
  /// rounding is decided as there.
  @Test(arguments: [[5000], [50, 100], [3, 17, 90], [2, 9000]]) func decidesAsFloat64(_ shape: [Int]) throws {
    var inputs = fineTunes(shape.reduce(1, *), models: 1, seed: 2)
    // Few large changes among many small ones, as fine-tuning makes them: there are outliers to be taken.
    inputs[1] = zip(inputs[0], inputs[1]).map { b, x in
      let change = 4 * (x - b)
      return b + change * change * change * change * change
    }
    let merge = TestMerge("arcee_fusion", inputs, shape: shape)
    let (base, other) = (merge.inputs[0], merge.inputs[1])
    let importance = Self.importance(base, other, rowLength: shape.last ?? 1)
    let sorted = importance.sorted()
    let quartiles = [0.25, 0.5, 0.75].map { sorted[Int($0 * Double(sorted.count - 1))] }
    let threshold = quartiles[1] + 1.5 * (quartiles[2] - quartiles[0])
    let result = try merge.result()
    var taken = 0
    for index in result.indices where abs(importance[index] - threshold) > 1e-5 * threshold {
      #expect(result[index] == (importance[index] >= threshold ? other[index] : base[index]), "element \(index)")
      taken += importance[index] >= threshold ? 1 : 0
    }
    #expect(taken > 0 && taken < result.count / 2)
  }

  private static func importance(_ base: [Float], _ other: [Float], rowLength: Int) -> [Double] {
    func softmax(_ row: [Float]) -> [Double] {
      let largest = row.max() ?? 0
      let powers = row.map { exponential(Double($0) - Double(largest)) }
      let sum = powers.reduce(0, +)
      return powers.map { $0 / sum + 1e-8 }
    }
    return stride(from: 0, to: base.count, by: rowLength).flatMap { start -> [Double] in
      let (b, x) = (Array(base[start..<start + rowLength]), Array(other[start..<start + rowLength]))
      let divergence = zip(softmax(x), softmax(b)).reduce(0) { $0 + $1.0 * logarithm($1.0 / $1.1) }
      return zip(b, x).map { Double(abs($1 - $0)) * divergence }
    }
  }

  /// e^x for -4 <= x <= 0 by its series: sixty terms are exact to float64's last digits here.
  private static func exponential(_ x: Double) -> Double {
    var (sum, term) = (1.0, 1.0)
    for n in 1...60 {
      term *= x / Double(n)
      sum += term
    }
    return sum
  }

  /// ln x = 2 artanh((x-1)/(x+1)) for x from 1/8 to 8.
  private static func logarithm(_ x: Double) -> Double {
    let z = (x - 1) / (x + 1)
    var (sum, power) = (0.0, z)
    for n in 0..<200 {
      sum += power / Double(2 * n + 1)
      power *= z * z
    }
    return 2 * sum
  }
}
