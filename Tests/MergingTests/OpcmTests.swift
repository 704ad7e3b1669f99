import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierNumerics
import Testing

@testable import EspalierMerging

@Suite struct OpcmTests {
  @Test(arguments: [
    "opcm_square", "opcm_tall", "opcm_wide", "opcm_large", "opcm_open", "opcm_added", "opcm_vector",
  ])
  func agreesWithFloat64(_ name: String) throws {
    let vector = try Vector(name)
    let merge = TestMerge(
      "opcm", vector.inputs, shape: vector.shape,
      [
        "alpha": vector.number("alpha"), "project": .flag(vector.parameters["project"]?.bool ?? true),
        "lambda": vector.number("lambda"),
      ])
    let distance = try merge.result().ulps(from: vector.expected)
    #expect(distance <= 1, "\(distance) ulps of the largest value")
  }

  /// The first change is diag(4, 3, 1): its singular vectors are the axes. 4 + 3 of 8 lie within alpha = 0.9, so the
  /// second change loses its leading 2 x 2 block and the last diagonal element; 4 of 8 within alpha = 0.5 close the
  /// first axis (no more than the diagonal), and of the rest the diagonal goes.
  @Test(arguments: [0.9, 0.5]) func byHand(_ alpha: Double) throws {
    let first: [Float] = [4, 0, 0, 0, 3, 0, 0, 0, 1]
    let second: [Float] = [2, 7, 1, 5, 3, 4, 6, 2, 8]
    let sum: [Double] = alpha > 0.8 ? [4, 0, 1, 0, 3, 4, 6, 2, 1] : [4, 7, 1, 5, 3, 4, 6, 2, 1]
    // |first|² = 26, |second|² = 208.
    let mean = (Double(26).squareRoot() + Double(208).squareRoot()) / 2
    let norm = sum.reduce(0) { $0 + $1 * $1 }.squareRoot()
    let merge = TestMerge(
      "opcm", [[Float](repeating: 0, count: 9), first, second], shape: [3, 3], ["alpha": .number(alpha)])
    #expect(try merge.result().ulps(from: sum.map { $0 * mean / norm }) <= 1)
  }

  /// Vectors add up: (3, 0) + (0, 4) has norm 5, the mean norm is 3.5.
  @Test func vectorsByHand() throws {
    let result = try TestMerge("opcm", [[1, 1], [4, 1], [1, 5]]).result()
    #expect(result.ulps(from: [1 + 3 * 0.7, 1 + 4 * 0.7]) <= 1)
  }

  @Test func oneModelIsItself() throws {
    let inputs = fineTunes(30 * 20, models: 1, seed: 1)
    #expect(try TestMerge("opcm", inputs, shape: [30, 20]).result() == inputs[1])
  }

  /// What a model shares with the merge so far it does not add: merged twice, or thrice, it is itself.
  @Test(arguments: [0.0, 0.5, 1.0]) func repetitionAddsNothing(_ alpha: Double) throws {
    let inputs = fineTunes(30 * 20, models: 1, seed: 2)
    let merge = TestMerge(
      "opcm", [inputs[0], inputs[1], inputs[1], inputs[1]], shape: [30, 20], ["alpha": .number(alpha)])
    #expect(try merge.result().ulps(from: inputs[1].map(Double.init)) <= 2)
  }

  /// The result is as far from the base as the models are on average, and what each adds is orthogonal to what was
  /// there: the product of result and first change is that of the first change with itself, scaled.
  @Test(arguments: [[32, 48], [48, 32]], [0.0, 0.5, 1.0]) func normsAndOrthogonality(_ shape: [Int], _ alpha: Double)
    throws
  {
    let count = shape[0] * shape[1]
    let zeros = [Float](repeating: 0, count: count)
    let changes = fineTunes(count, models: 2, seed: 3).dropFirst().map { zip($0, zeros).map { $0 - $1 } }
    func dot(_ a: [Float], _ b: [Float]) -> Double { zip(a, b).reduce(0) { $0 + Double($1.0) * Double($1.1) } }
    func norm(_ a: [Float]) -> Double { dot(a, a).squareRoot() }
    let result = try TestMerge("opcm", [zeros] + changes, shape: shape, ["alpha": .number(alpha)]).result()
    let mean = (norm(changes[0]) + norm(changes[1])) / 2
    #expect(abs(norm(result) / mean - 1) < 1e-6)
    // M_2 = M_1 + P with <P, M_1> = 0: |M_2|² = |M_1|² + |P|², out = M_2 mean / |M_2|.
    let merged = mean * dot(changes[0], changes[0]) / dot(result, changes[0])
    #expect(merged >= norm(changes[0]) * (1 - 1e-6))
    let scaled = zip(result, changes[0]).map { Double($0) * merged / mean - Double($1) }
    let added = zip(scaled, changes[0]).reduce(0) { $0 + $1.0 * Double($1.1) }
    #expect(abs(added) < 1e-5 * dot(changes[0], changes[0]))
  }

  /// With everything closed the second change adds nothing within the first's row and column space; a change outside
  /// both is added whole.
  @Test func closedSpacesStayClosed() throws {
    // The first change lives in the upper left corner of 4 x 4, the second everywhere.
    var first = [Float](repeating: 0, count: 16)
    (first[0], first[1], first[4], first[5]) = (3, 1, 1, 2)
    let second = (1...16).map(Float.init)
    let result = try TestMerge(
      "opcm", [[Float](repeating: 0, count: 16), first, second], shape: [4, 4], ["alpha": .number(1)]
    ).result()
    let scale = Double(result[0]) / 3
    for row in 0..<4 {
      for column in 0..<4 {
        let index = row * 4 + column
        let expected = row < 2 && column < 2 ? first[index] : second[index]
        #expect(abs(Double(result[index]) / scale - Double(expected)) < 1e-5, "row \(row), column \(column)")
      }
    }
  }

  @Test func unchangedTensorsStay() throws {
    let base = fineTunes(24, models: 0, seed: 4)[0]
    for shape in [[24], [4, 6], [2, 3, 4]] {
      #expect(try TestMerge("opcm", [base, base, base], shape: shape).result() == base)
    }
    // The first model changed nothing: the second joins whole, and brings its own direction at the mean length.
    let other = base.map { $0 + 1 }
    let result = try TestMerge("opcm", [base, base, other], shape: [4, 6]).result()
    #expect(result.ulps(from: base.map { Double($0) + 0.5 }) <= 1)
  }

  @Test func emptyAndThinTensors() throws {
    for shape in [[0], [0, 5], [5, 0], [1, 7], [7, 1], [1, 1]] {
      let count = shape.reduce(1, *)
      let result = try TestMerge("opcm", fineTunes(count, models: 3, seed: 5), shape: shape).result()
      #expect(result.count == count && result.allSatisfy(\.isFinite))
    }
  }

  /// What a job reserves does not depend on the number of models, but for sums of a few bytes a block.
  @Test func memoryIsThatOfTwoModels() throws {
    let method = try Opcm(
      MergeParameters(
        shared: ["alpha": .number(0.5), "project": .flag(true), "lambda": .number(1)], inputs: [], hasBase: true))
    let two = method.residentBytes(shape: [4096, 11008], inputs: 3)
    #expect(method.residentBytes(shape: [4096, 11008], inputs: 9) == two)
    #expect(method.residentBytes(shape: [4096, 11008], inputs: 101) == two)
  }
}
