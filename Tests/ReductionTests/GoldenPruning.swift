import EspalierBasics
import EspalierCheckpoints
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierReduction

/// A problem of `Fixtures/compression`, whose results were computed in numpy float64.
struct GoldenProblem: @unchecked Sendable {
  static let names = ["p64x96", "p96x64_lowrank_x", "p128x256_singular"]

  let name: String
  let cases: [JSON]
  let weight: Matrix<Float>
  let inputs: Matrix<Float>
  private let file: File
  private let tensors: [String: StoredTensor]

  init(_ name: String) throws {
    self.name = name
    let path = "\(FileSystem.parent(of: #filePath))/Fixtures/compression/\(name)"
    cases = try JSON(parsing: String(decoding: FileSystem.read(path + ".json"), as: UTF8.self))["cases"]?.array ?? []
    let file = try File.reading(path + ".safetensors")
    let tensors = Dictionary(uniqueKeysWithValues: try SafetensorsHeader(reading: file).tensors.map { ($0.name, $0) })
    func matrix(_ name: String) throws -> Matrix<Float> {
      let tensor = try #require(tensors[name])
      let bytes = try file.read(tensor.byteCount, at: tensor.offset)
      return try Matrix(rows: tensor.shape[0], columns: tensor.shape[1], elements: ElementType.f32.values(of: bytes))
    }
    (self.file, self.tensors) = (file, tensors)
    weight = try matrix("W")
    inputs = try matrix("X")
  }

  func bytes(_ name: String) throws -> [UInt8] {
    let tensor = try #require(tensors[name])
    return try file.read(tensor.byteCount, at: tensor.offset)
  }

  func doubles(_ name: String) throws -> [Double] {
    try bytes(name).withUnsafeBytes { Array($0.bindMemory(to: Double.self)) }
  }

  func integers(_ name: String) throws -> [Int] {
    try bytes(name).withUnsafeBytes { $0.bindMemory(to: Int32.self).map(Int.init) }
  }
}

extension JSON {
  /// The budget of a pruning case: n:m there counts what goes.
  func pruningBudget() throws -> MatrixBudget {
    let parameters = try #require(self["params"])
    if let pattern = parameters["nm"]?.array {
      let (gone, of) = (try #require(pattern[0].integer), try #require(pattern[1].integer))
      return .pattern(keep: of - gone, of: of)
    }
    return .sparsity(try #require(parameters["sparsity"]?.number))
  }
}

@Suite struct GoldenPruningTests {
  @Test(arguments: GoldenProblem.names) func masksByScoreAreTheReferences(name: String) throws {
    let problem = try GoldenProblem(name)
    let statistics = try SiteStatistics(of: problem.inputs)
    var seen = 0
    for item in problem.cases {
      let method: any ReductionMethod
      switch item["method"]?.string {
      case "magnitude":
        method = try MagnitudePruning.make(["scope": .word(item["params"]?["scope"]?.string ?? "layer")])
      case "wanda": method = try Wanda.make()
      default: continue
      }
      seen += 1
      let label = try #require(item["case"]?.string)
      let reduced = try method.reduce(
        problem.weight, statistics, to: item.pruningBudget(), parallel: MatrixProduct.serially)
      guard case .dense(let pruned) = reduced.form else { throw Problem(.reduction, label) }
      let mask = try problem.bytes("\(label).pruned_mask")
      #expect(pruned.elements.map { $0 == 0 ? 1 : 0 } == mask, "\(label)")
      #expect(reduced.storedNumbers == item["nonzero"]?.integer, "\(label)")
      let expected = try #require(item["output_error_rel"]?.number)
      #expect(abs(reduced.certificate.error - expected) < 1e-4 * expected, "\(label)")
      #expect(reduced.certificate.kind == .measured)
    }
    #expect(seen == 10)
  }

  @Test(arguments: GoldenProblem.names) func sparseGPTIsTheReference(name: String) throws {
    let problem = try GoldenProblem(name)
    let statistics = try SiteStatistics(of: problem.inputs)
    var seen = 0
    for item in problem.cases where item["method"]?.string == "sparsegpt" {
      seen += 1
      let label = try #require(item["case"]?.string)
      let method = try SparseGPT.make([
        "block_size": .number(try #require(item["params"]?["blocksize"]?.number)),
        "damp": .number(try #require(item["params"]?["percdamp"]?.number)),
      ])
      let reduced = try method.reduce(
        problem.weight, statistics, to: item.pruningBudget(), parallel: MatrixProduct.serially)
      guard case .dense(let pruned) = reduced.form else { throw Problem(.reduction, label) }
      let mask = try problem.bytes("\(label).pruned_mask")
      let differing = zip(pruned.elements, mask).count { ($0 == 0) != ($1 == 1) }
      #expect(differing == 0, "\(label)")
      let expected = try #require(item["output_error_rel"]?.number)
      #expect(abs(reduced.certificate.error - expected) < 1e-4 * expected, "\(label)")
      if item["arrays"]?.array?.contains(.string("\(label).Wp")) == true {
        let weights = ElementType.f32.values(of: try problem.bytes("\(label).Wp"))
        let scale = weights.reduce(0) { max($0, $1.magnitude) }
        #expect(zip(pruned.elements, weights).allSatisfy { abs($0 - $1) <= 1e-5 * scale }, "\(label)")
      }
    }
    #expect(seen == 6)
  }

  @Test(arguments: GoldenProblem.names) func brainCompressionIsTheReference(name: String) throws {
    let problem = try GoldenProblem(name)
    let statistics = try SiteStatistics(of: problem.inputs)
    guard case .full(let moment)? = statistics.moment else { throw Problem(.reduction, "no moment") }
    let inverse = try InverseFactor(moment: moment, count: statistics.count, damp: 0.01).inverse()
    let row = 5
    let columns = problem.weight.columns
    let weights = problem.weight.elements[row * columns..<(row + 1) * columns].map(Double.init)
    let whole = try OptimalBrainCompression.prune(weights, inverse: inverse, steps: columns)
    #expect(try whole.order == problem.integers("obc.order"))
    for (loss, expected) in zip(whole.losses, try problem.doubles("obc.loss")) {
      #expect(abs(loss - expected) <= 1e-6 * expected)
    }
    var seen = 0
    for item in problem.cases where item["case"]?.string?.hasPrefix("obc_row5_n") == true {
      seen += 1
      let count = try #require(item["params"]?["pruned"]?.integer)
      let pruned = try OptimalBrainCompression.prune(weights, inverse: inverse, steps: count).weights
      for (value, expected) in zip(pruned, try problem.doubles("obc.w_n\(count)")) {
        #expect(abs(value - expected) < 1e-7)
        #expect((value == 0) == (expected == 0))
      }
      let error = try outputError(
        Matrix(rows: 1, columns: columns, elements: pruned.map { Float($0) }),
        Matrix(rows: 1, columns: columns, elements: weights.map { Float($0) }), problem.inputs)
      let expected = try #require(item["output_error_rel"]?.number)
      #expect(abs(error - expected) < 1e-4 * expected)
    }
    #expect(seen == 3)
  }
}
