import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierEvaluation

@Suite struct SpectrumTests {
  private func diagonal(_ values: [Double], columns: Int) throws -> Matrix<Double> {
    var elements = [Double](repeating: 0, count: values.count * columns)
    for (i, value) in values.enumerated() { elements[i * columns + i] = value }
    return try Matrix(rows: values.count, columns: columns, elements: elements)
  }

  @Test func aDiagonalMatrixByHand() throws {
    // Squares 16, 4, 4, 1 of 25: 64 %, 80 %, 96 %, all.
    let spectrum = try Spectrum(of: diagonal([2, -4, 1, 2], columns: 6))
    #expect(spectrum.method == .complete && spectrum.count == 4)
    #expect(abs(spectrum.largest - 4) < 1e-14 && abs((spectrum.smallest ?? .nan) - 1) < 1e-14)
    #expect(abs(spectrum.stableRank - 25.0 / 16) < 1e-14)
    #expect(spectrum.energyRank90 == 3 && spectrum.energyRank99 == 4)
  }

  @Test func aZeroMatrixHasRankZero() throws {
    let spectrum = try Spectrum(of: diagonal([0, 0], columns: 3))
    #expect(spectrum.largest == 0 && spectrum.smallest == 0 && spectrum.stableRank == 0)
    #expect(spectrum.energyRank90 == 0 && spectrum.energyRank99 == 0)
  }

  /// Beyond the largest size that is decomposed in full: a matrix of low rank is found all the same.
  @Test func aLargeMatrixOfLowRankIsFoundByTheRandomizedMethod() throws {
    let size = Spectrum.largestComplete + 2
    let values = [2.0, 4, 1, 2] + [Double](repeating: 0, count: size - 4)
    let spectrum = try Spectrum(of: diagonal(values, columns: size))
    #expect(spectrum.method == .randomized && spectrum.count == Spectrum.leadingCount && spectrum.smallest == nil)
    #expect(abs(spectrum.largest - 4) < 1e-12 && abs(spectrum.stableRank - 25.0 / 16) < 1e-12)
    #expect(spectrum.energyRank90 == 3 && spectrum.energyRank99 == 4)
  }

  /// Nothing to find: the identity needs more values than are computed, and says so.
  @Test func ranksBeyondTheComputedValuesAreNotClaimed() {
    let spectrum = Spectrum([Double](repeating: 1, count: 256), isComplete: false, energy: 4096)
    #expect(spectrum.energyRank90 == nil && spectrum.energyRank99 == nil && spectrum.stableRank == 4096)
  }

  @Test func signsAreBalancedAndUnrelated() {
    let signs = (0..<40_000).map(Spectrum.randomSign)
    #expect(signs.allSatisfy { abs($0) == 1 })
    // Five standard deviations of a sum of 40,000 signs are 1,000.
    #expect(abs(signs.reduce(0, +)) < 1000)
    for lag in [1, 2, 266] { #expect(abs(zip(signs, signs.dropFirst(lag)).reduce(0) { $0 + $1.0 * $1.1 }) < 1000) }
  }

  @Test func aSpectrumThatDoesNotFitIsRefusedByName() throws {
    try withTemporaryFolder { folder in
      let checkpoint = try model([TestTensor("w", [2, 2], [1, 2, 3, 4])], in: folder)
      let options = MeasurementOptions(spectra: true, threads: 1, memory: 1 << 20)
      let tensor = try Inspection(of: checkpoint).measured(options).tensors[0]
      guard case .failure(let problem) = try #require(tensor.spectrum) else {
        Issue.record("a spectrum was computed beyond the ceiling")
        return
      }
      #expect(problem.code == .memoryCeiling && problem.context.tensor == "w")
      #expect(tensor.statistics?.squaredNorm == 30)
    }
  }
}
