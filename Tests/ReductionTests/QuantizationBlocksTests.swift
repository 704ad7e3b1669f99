import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// GPTQ whose result is bytes of block formats.
@Suite struct QuantizationBlocksTests {
  private func decoded(_ bytes: [UInt8], _ type: BlockType, rows: Int, columns: Int) throws -> Matrix<Float> {
    var floats = [Float](repeating: 0, count: rows * columns)
    bytes.withUnsafeBytes { type.decode($0.baseAddress!, into: &floats, count: rows * columns) }
    return try Matrix(rows: rows, columns: columns, elements: floats)
  }

  private func encoded(_ weight: Matrix<Float>, _ type: BlockType) throws -> [UInt8] {
    let bytes = UnsafeMutableRawBufferPointer.allocate(
      byteCount: weight.rows * type.byteCount(of: weight.columns), alignment: 64)
    defer { bytes.deallocate() }
    let encoder = try BlockEncoder(type)
    try weight.withView { (view) throws(Problem) in try encoder.encode(view, into: bytes) }
    return Array(bytes)
  }

  private func moment(_ statistics: SiteStatistics) throws -> Matrix<Double> {
    guard case .full(let moment)? = statistics.moment else { throw Problem(.reduction, "no moment") }
    return moment
  }

  @Test(arguments: GPTQBlocks.types) func errorsFall(type: BlockType) throws {
    let weight = try Matrix<Float>(random: 20, 512, seed: 61)
    let statistics = try SiteStatistics(of: correlatedInputs(800, 512, seed: 62))
    let blocks = try GPTQBlocks(type)
    let factor = try blocks.factor(moment: moment(statistics), count: statistics.count)
    let bytes = try blocks.encode(weight, factor)
    let swept = try OutputError.certificate(
      of: decoded(bytes, type, rows: 20, columns: 512), original: weight, statistics: statistics)
    let plain = try OutputError.certificate(
      of: decoded(encoded(weight, type), type, rows: 20, columns: 512), original: weight, statistics: statistics)
    #expect(swept.error < 0.9 * plain.error, "\(swept.error) \(plain.error)")
    let pool = WorkerPool(threads: 3)
    defer { pool.stop() }
    #expect(try blocks.encode(weight, factor, parallel: pool.forEach) == bytes)
    let importance = statistics.squareSums.map { Float($0) }
    let weighed = try GPTQBlocks(type, search: .refined).encode(weight, factor, importance: importance)
    let refined = try OutputError.certificate(
      of: decoded(weighed, type, rows: 20, columns: 512), original: weight, statistics: statistics)
    #expect(refined.error < 0.9 * plain.error)
  }

  /// With nothing to make up for, each code is the nearest level of its block, which the encoder's own are within
  /// rounding.
  @Test(arguments: GPTQBlocks.types) func withoutCorrelationsCodesAreTheNearest(type: BlockType) throws {
    let weight = try Matrix<Float>(random: 9, 256, seed: 63)
    var identity = try Matrix<Double>(rows: 256, columns: 256, elements: [Double](repeating: 0, count: 65536))
    for i in 0..<256 { identity[i, i] = 3 }
    let blocks = try GPTQBlocks(type)
    let bytes = try blocks.encode(weight, blocks.factor(moment: identity, count: 6))
    let (swept, plain) = (
      try decoded(bytes, type, rows: 9, columns: 256),
      try decoded(encoded(weight, type), type, rows: 9, columns: 256)
    )
    for (index, w) in weight.elements.enumerated() {
      #expect(abs(swept.elements[index] - w) <= abs(plain.elements[index] - w) + 1e-6)
    }
    // Scales are the encoder's.
    let scale =
      switch type {
      case .q2_K: (80..<84)
      case .q3_K: (96..<110)
      case .q6_K: (192..<210)
      case .q4_K, .q5_K: (0..<16)
      case .q4_1, .q5_1: (0..<4)
      default: (0..<2)
      }
    #expect(Array(bytes[scale]) == Array(try encoded(weight, type)[scale]))
  }

  @Test func refusals() throws {
    #expect(problem { try GPTQBlocks(.iq4_nl) }?.code == .reduction)
    #expect(problem { try GPTQBlocks(.q8_K) }?.code == .reduction)
    let blocks = try GPTQBlocks(.q4_0)
    let statistics = try SiteStatistics(of: correlatedInputs(100, 64, seed: 64))
    let factor = try blocks.factor(moment: moment(statistics), count: 100)
    var weight = try Matrix<Float>(random: 3, 64, seed: 65)
    #expect(problem { try blocks.encode(Matrix<Float>(random: 3, 48, seed: 1), factor) }?.code == .matrixShape)
    #expect(problem { try GPTQBlocks(.q4_K).encode(weight, factor) }?.code == .matrixShape)
    #expect(problem { try blocks.encode(weight, factor, importance: [1]) }?.code == .matrixShape)
    #expect(
      problem { try blocks.encode(weight, factor, importance: [Float](repeating: -1, count: 64)) }?.code
        == .blockImportance)
    weight[1, 2] = .nan
    #expect(problem { try blocks.encode(weight, factor) }?.code == .nonFiniteMatrix)
    weight[1, 2] = 3e38
    #expect(problem { try blocks.encode(weight, factor) }?.code == .blockScale)
    // Rows of zeros.
    let zeros = try Matrix<Float>(rows: 2, columns: 64, elements: [Float](repeating: 0, count: 128))
    #expect(try decoded(blocks.encode(zeros, factor), .q4_0, rows: 2, columns: 64) == zeros)
  }
}
