import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// Quantization against the results in `Fixtures/compression`, which were computed in numpy float64.
@Suite struct QuantizationGoldenTests {
  @Test(arguments: GoldenProblem.names) func plainRoundingIsTheReference(name: String) throws {
    let problem = try GoldenProblem(name)
    let statistics = try SiteStatistics(of: problem.inputs)
    var seen = 0
    for item in problem.cases where item["method"]?.string == "rtn" {
      seen += 1
      let label = try #require(item["case"]?.string)
      let reduced = try PlainRounding.make(item.gridParameters()).reduce(
        problem.weight, statistics, to: .sparsity(0), parallel: MatrixProduct.serially)
      let matrix = try reduced.quantized()
      try expectGrids(of: matrix, label, problem)
      let expected = try problem.bytes("\(label).codes")
      for (index, (code, wanted)) in zip(matrix.codes, expected).enumerated() where code != wanted {
        // Only what lies in the middle of two levels may go to the other one.
        let group = index / matrix.columns * matrix.scaleColumns + index % matrix.columns / matrix.tileColumns
        let place = Double(problem.weight.elements[index]) / Double(matrix.scales[group])
        #expect(abs(abs(place - place.rounded(.down)) - 0.5) < 1e-6, "\(label) \(index)")
      }
      let error = try #require(item["output_error_rel"]?.number)
      #expect(abs(reduced.certificate.error - error) < 1e-4 * error, "\(label)")
      #expect(reduced.certificate.kind == .measured)
    }
    #expect(seen == 6)
  }

  @Test(arguments: GoldenProblem.names) func gptqIsTheReference(name: String) throws {
    let problem = try GoldenProblem(name)
    let statistics = try SiteStatistics(of: problem.inputs)
    var seen = 0
    for item in problem.cases where item["method"]?.string == "gptq" {
      seen += 1
      let label = try #require(item["case"]?.string)
      let given = try #require(item["params"])
      var parameters = try item.gridParameters()
      parameters["act_order"] = .flag(given["act_order"]?.bool == true)
      parameters["static_groups"] = .flag(given["static_groups"]?.bool == true)
      parameters["block_size"] = .number(try #require(given["blocksize"]?.number))
      parameters["damp"] = .number(try #require(given["percdamp"]?.number))
      if label.hasSuffix("blockstart") { parameters["fit_at"] = .word("block") }
      let reduced = try GPTQ.make(parameters).reduce(
        problem.weight, statistics, to: .sparsity(0), parallel: MatrixProduct.serially)
      let matrix = try reduced.quantized()
      let groups = try problem.integers("\(label).g_idx")
      let own = matrix.groupOfColumn ?? (0..<matrix.columns).map { Int32($0 / matrix.tileColumns) }
      #expect(own.map(Int.init) == groups, "\(label)")
      if !label.contains("_g32") || label.hasSuffix("static") { try expectGrids(of: matrix, label, problem) }
      let expected = try problem.bytes("\(label).codes")
      let differing = zip(matrix.codes, expected).count { $0 != $1 }
      #expect(Double(differing) <= 0.01 * Double(expected.count), "\(label): \(differing) of \(expected.count)")
      let error = try #require(item["output_error_rel"]?.number)
      #expect(abs(reduced.certificate.error - error) < 0.01 * error, "\(label): \(reduced.certificate.error), \(error)")
    }
    #expect(seen == 13)
  }

  @Test(arguments: GoldenProblem.names) func awqIsTheReference(name: String) throws {
    let problem = try GoldenProblem(name)
    let statistics = try SiteStatistics(of: problem.inputs)
    var seen = 0
    for item in problem.cases where item["method"]?.string == "awq" {
      seen += 1
      let label = try #require(item["case"]?.string)
      let given = try #require(item["params"])
      func method(clip: Bool) throws -> AWQ {
        try AWQ.make([
          "bits": .number(try #require(given["bits"]?.number)), "symmetric": .flag(false), "scale_type": .word("f32"),
          "group_size": .number(try #require(given["group"]?.number)), "clip": .flag(clip),
        ])
      }
      let reduced = try method(clip: false).reduce(
        problem.weight, statistics, to: .sparsity(0), parallel: MatrixProduct.serially)
      let error = try #require(item["output_error_rel"]?.number)
      #expect(abs(reduced.certificate.error - error) < 1e-4 * error, "\(label)")
      let scales = try #require(try reduced.quantized().inputScales)
      let expected = try problem.doubles("\(label).s")
      for (scale, wanted) in zip(scales, expected) { #expect(abs(Double(scale) - wanted) < 1e-6 * wanted, "\(label)") }
      let clipped = try method(clip: true).reduce(
        problem.weight, statistics, to: .sparsity(0), parallel: MatrixProduct.serially)
      #expect(clipped.certificate.error <= reduced.certificate.error)
    }
    #expect(seen == 2)
  }

  private func expectGrids(of matrix: QuantizedMatrix, _ label: String, _ problem: GoldenProblem) throws {
    #expect(try matrix.scales == problem.doubles("\(label).scales").map { Float($0) }, "\(label)")
    let zeros = try problem.doubles("\(label).zeros")
    let own = matrix.zeros.map { $0.map(Double.init) }
    #expect(own ?? zeros.map { _ in Double(matrix.grid.commonZero ?? -1) } == zeros, "\(label)")
  }
}

extension JSON {
  /// The parameters of the grid of a case, whose scales are not rounded.
  fileprivate func gridParameters() throws -> [String: ParameterValue] {
    let given = try #require(self["params"])
    var parameters: [String: ParameterValue] = [
      "bits": .number(try #require(given["bits"]?.number)), "symmetric": .flag(given["sym"]?.bool == true),
      "scale_type": .word("f32"), "scales": .word("row"),
    ]
    if let group = given["group"]?.number {
      parameters["scales"] = .word("group")
      parameters["group_size"] = .number(group)
    }
    return parameters
  }
}

extension ReducedMatrix {
  /// The codes, which a method of quantization must have made.
  func quantized() throws -> QuantizedMatrix {
    guard case .quantized(let matrix) = form else { throw Problem(.reduction, "no codes") }
    return matrix
  }
}
