import EspalierBasics
import EspalierMerging
import EspalierNumerics
import TestSupport
import Testing

/// A merge's bytes depend on recipe and inputs alone.
@Suite struct InvarianceTests {
  private static func weights(_ values: Double...) -> [[String: ParameterValue]] {
    values.map { ["weight": .number($0), "density": .number(0.5), "gamma": .number(0.05), "epsilon": .number(0.2)] }
  }

  /// One tensor by every method, with shapes that make several blocks and tiles.
  private static func merges() -> [TestMerge] {
    MergeMethods.all.enumerated().map { index, method in
      let name = method.card.name
      let single = ["slerp", "nearswap", "arcee_fusion"].contains(name)
      let hasBase = !["linear", "karcher", "passthrough"].contains(name)
      let all = fineTunes(60_000, models: single ? 1 : 2, seed: UInt64(index), type: .bf16)
      let inputs = hasBase ? all : name == "passthrough" ? Array(all.prefix(1)) : all
      var merge = TestMerge(
        name, inputs, shape: [120, 500], base: hasBase, ["t": .number(0.4), "select_topk": .number(0.5)],
        each: Array(weights(1, 0.5, 0.25).prefix(hasBase ? inputs.count - 1 : inputs.count)))
      merge.name = name
      merge.inputType = .bf16
      merge.outputType = index % 2 == 0 ? .bf16 : .f32
      return merge
    }
  }

  @Test func threadsShardsAndMemory() throws {
    let merges = Self.merges()
    let expected = try TestMerge.run(merges, threads: 1)
    for threads in [2, 3, 8] {
      #expect(try TestMerge.run(merges, threads: threads).files == expected.files, "\(threads) threads")
    }
    #expect(try TestMerge.run(merges, memory: 64 << 20).files == expected.files)
    let sharded = try TestMerge.run(merges, shardBytes: 300_000)
    #expect(sharded.files.count > 5)
    #expect(sharded.bytes == expected.bytes)
  }

  /// More than one span (4 Mi elements), so that threads share one tensor; equal magnitudes by the hundred thousand.
  @Test func severalSpans() throws {
    let count = (4 << 20) + 12_345
    var generator = SeededGenerator(seed: 1)
    let inputs = [[Float](repeating: 0, count: count), generator.grid(count), generator.grid(count)]
    var ties = TestMerge("ties", inputs, ["normalize": .flag(false)], each: Self.weights(1, 0.5))
    var linear = TestMerge("linear", inputs, base: false, each: Self.weights(1, 2, 1))
    var dare = TestMerge("dare_linear", inputs, ["rescale": .flag(false)], each: Self.weights(1, 0.5))
    (ties.name, linear.name, dare.name) = ("ties", "linear", "dare")
    (ties.inputType, linear.inputType, dare.inputType) = (.bf16, .bf16, .bf16)
    let merges = [ties, linear, dare]
    let one = try TestMerge.run(merges, threads: 1)
    let three = try TestMerge.run(merges, threads: 3)
    #expect(one.bytes == three.bytes)

    // Multiples of 1/64 with weights that are powers of two: every sum is exact.
    #expect(one.values["linear"] == zip(inputs[1], inputs[2]).map { 0.5 * $0 + 0.25 * $1 })
    let kept = inputs.dropFirst().map { Self.half($0) }
    let expected = zip(kept[0], kept[1]).map { a, b -> Float in
      let (x, y) = (a, 0.5 * b)
      return x + y >= 0 ? max(0, x) + max(0, y) : min(0, x) + min(0, y)
    }
    #expect(one.values["ties"] == expected)
  }

  /// The half of largest magnitude, by counting the grid's nine magnitudes; the first by index at the threshold.
  private static func half(_ values: [Float]) -> [Float] {
    var counts = [Int](repeating: 0, count: 9)
    for value in values { counts[Int(abs(value) * 64)] += 1 }
    var (room, threshold) = (values.count / 2, 8)
    while counts[threshold] <= room {
      room -= counts[threshold]
      threshold -= 1
    }
    return values.map { value in
      let magnitude = Int(abs(value) * 64)
      guard magnitude <= threshold else { return value }
      guard magnitude == threshold, room > 0 else { return 0 }
      room -= 1
      return value
    }
  }
}

/// Values that are not finite, going in or coming out.
@Suite struct FiniteTests {
  @Test(arguments: ["linear", "ties", "della", "slerp", "sce", "arcee_fusion"], [Float.nan, -.infinity])
  func inputsAreNamed(_ method: String, _ bad: Float) throws {
    var inputs = fineTunes(9000, models: 1, seed: 1)
    inputs[1][8001] = bad
    let merge = TestMerge(
      method, inputs, shape: [9, 1000], base: method != "linear", ["t": .number(0.5), "select_topk": .number(0.5)],
      each: Array(repeating: ["weight": .number(1), "density": .number(0.5)], count: method == "linear" ? 2 : 1))
    do {
      _ = try TestMerge.run([merge])
      Issue.record("\(bad) went unnoticed")
    } catch let problem as Problem {
      #expect(problem.code == .init("values.not-finite"))
      #expect(problem.context.tensor == "t")
      #expect(problem.message.contains("model 1") && problem.message.contains("8001"), "\(problem.message)")
    }
    let allowed = try TestMerge.run([merge], allowsNonFinite: true)
    #expect(allowed.values["t"]?.count == 9000)
  }

  @Test(arguments: [ElementType.f16, .f8e4m3, .f8e5m2]) func resultsBeyondTheTypeAreNamed(_ type: ElementType) throws {
    var merge = TestMerge("linear", [[1, 70_000]], base: false, each: [["weight": .number(1)]])
    merge.outputType = type
    #expect(problem { try merge.result() }?.code == .init("values.overflow"))
    merge.inputs = [[1, 200]]
    #expect(try merge.result() == type.values(of: type.bytes(of: [1, 200])))
  }

  @Test func sumsBeyondFloatAreNamed() {
    let merge = TestMerge(
      "linear", [[3e38], [3e38]], base: false, ["normalize": .flag(false)],
      each: [["weight": .number(1)], ["weight": .number(1)]])
    #expect(problem { try merge.result() }?.code == .init("values.overflow"))
  }
}
