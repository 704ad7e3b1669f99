import EspalierArchitectures
import EspalierBasics
import EspalierCalibration
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@testable import EspalierNetworks
@testable import EspalierRecipes

/// Factors of columns that go into what is before them.
@Suite struct ColumnFoldTests {
  /// A model and how many sites of a layer norms, and matrices, can take factors of.
  struct Case: CustomTestStringConvertible {
    let name: String
    let norms: Int
    let matrices: Int
    /// Changes of config.json.
    var config: [String: JSON] = [:]
    var testDescription: String { "\(name) \(config.keys.joined())" }
  }

  static let cases = [
    Case(name: "llama_gqa_untied", norms: 2, matrices: 2),
    Case(name: "llama_bias_headdim", norms: 2, matrices: 2),
    Case(name: "llama_tied_mqa", norms: 2, matrices: 2),
    Case(name: "qwen2_untied", norms: 2, matrices: 2),
    Case(name: "qwen3", norms: 2, matrices: 2),
    // The weight is stored less one.
    Case(name: "gemma", norms: 2, matrices: 2),
    Case(name: "gemma2", norms: 2, matrices: 2),
    Case(name: "gemma3_text", norms: 2, matrices: 2),
    // Queries, keys and values are one matrix, and so are gate and up.
    Case(name: "phi3", norms: 2, matrices: 2),
    // Stored turned; a bias of the norms, and a nonlinearity between up and down.
    Case(name: "gpt2", norms: 2, matrices: 1),
    Case(name: "gpt2", norms: 2, matrices: 2, config: ["activation_function": "relu"]),
    Case(name: "gpt_neox_sequential", norms: 2, matrices: 1),
    Case(name: "gpt_neox_parallel", norms: 2, matrices: 1),
    // The norm is a residual too.
    Case(name: "bert_mlm", norms: 0, matrices: 1),
    // Maps read the residual; norms come after.
    Case(name: "olmo2", norms: 0, matrices: 2),
    // Four experts; their norm is read by the router too, which counts as quantized here.
    Case(name: "mixtral", norms: 1, matrices: 1 + 4),
  ]

  private func network(_ checkpoint: any Checkpoint) throws -> Network {
    try Network(checkpoint, residency: .streamed, workers: WorkerPool(threads: 2))
  }

  private func logits(_ checkpoint: any Checkpoint) throws -> [Float] {
    let tokens = ReducedModel.text(3, length: 11).windows.sequences
    let outputs = try network(checkpoint).forward(NetworkInputs(tokens: tokens))
    return try #require(outputs.first { $0.name == "logits" }).values
  }

  private func model(_ wanted: Case, in folder: String) throws -> SafetensorsCheckpoint {
    let source = ReducedModel(name: wanted.name).path
    guard !wanted.config.isEmpty else { return try SafetensorsCheckpoint(at: source) }
    var config = try JSON(parsing: try FileSystem.read("\(source)/config.json"))
    for (key, value) in wanted.config { config[key] = value }
    try FileSystem.createFolder("\(folder)/model")
    try FileSystem.write(config.bytes(pretty: true), to: "\(folder)/model/config.json")
    try FileSystem.write(try FileSystem.read("\(source)/model.safetensors"), to: "\(folder)/model/model.safetensors")
    return try SafetensorsCheckpoint(at: "\(folder)/model")
  }

  /// Every fold there is with random factors, without any rounding to codes: logits differ by the rounding of float32.
  @Test(arguments: cases) func foldedModelsAreTheSameFunction(_ wanted: Case) throws {
    try withTemporaryFolder { folder in
      let checkpoint = try model(wanted, in: folder)
      let network = try network(checkpoint)
      var parts: [ReducedEncoding.Part] = []
      var random = SeededGenerator(seed: 11)
      var (norms, matrices, layers) = (0, 0, 0)
      for (index, block) in try network.blocks().enumerated() where block.isLayer {
        layers += 1
        var targets: [ReductionTarget] = []
        for matrix in try network.matrices(ofBlock: index) {
          if let place = targets.firstIndex(where: { $0.parameter.name == matrix.parameter.name }) {
            targets[place].matrices.append(matrix)
          } else {
            targets.append(ReductionTarget(parameter: matrix.parameter, matrices: [matrix]))
          }
        }
        var weights: [String: Matrix<Float>] = [:]
        for matrix in targets.flatMap(\.matrices) { weights[matrix.name] = try network.weight(of: matrix) }
        for fold in try ReductionPlan.folds(of: network, block: index, targets) {
          let width = try #require(weights[fold.source.readers[0]]).columns
          var factors = (0..<width).map { _ in Float(0.3 + 2 * Double(random.next() % 1000) / 1000) }
          if let sharing = fold.sharing {
            let shared = Dictionary(zip(sharing, factors), uniquingKeysWith: { first, _ in first })
            factors = try sharing.map { try #require(shared[$0]) }
          }
          let divided = try fold.divided(by: factors)
          for (a, b) in zip(divided.scales, factors) { #expect(abs(a - b) <= 1e-5 * b) }
          for reader in fold.source.readers {
            let weight = try #require(weights[reader])
            weights[reader] = weight.transposed.multiplied(rows: divided.scales).transposed
          }
          if let divisors = divided.divisors {
            weights[fold.target] = try #require(weights[fold.target]).divided(rows: divisors)
          }
          parts += divided.parts
          if case .norm = fold.source.maker { norms += 1 } else { matrices += 1 }
        }
        for target in targets {
          let stored = try target.matrices.map { matrix in
            try StoredWeight(
              .dense(try #require(weights[matrix.name])), as: .f32, .dense, parallel: MatrixProduct.serially)
          }
          parts += try target.encoded(stored, storage: .dense, pattern: .unstructured).parts
        }
      }
      #expect(norms == wanted.norms * layers && matrices == wanted.matrices * layers && layers > 0)
      let header = SafetensorsHeader.bytes(for: parts.map { ($0.name, $0.elementType, $0.shape) }, metadata: [])
      try FileSystem.write(header + parts.flatMap(\.bytes), to: "\(folder)/parts.safetensors")
      let folded = OverlaidCheckpoint(
        checkpoint, replacing: try SafetensorsCheckpoint(at: "\(folder)/parts.safetensors").parameters)
      let (before, after) = (try logits(checkpoint), try logits(folded))
      let largest = before.reduce(Float(0)) { max($0, abs($1)) }
      let worst = zip(before, after).reduce(Float(0)) { max($0, abs($1.0 - $1.1)) }
      #expect(worst <= 1e-5 * max(1, largest) && before != after, "\(worst) of \(largest)")
    }
  }

  private func parameter(_ values: [Float], _ type: ElementType, _ name: String, in folder: String) throws -> Parameter
  {
    let header = SafetensorsHeader.bytes(for: [(name, type, [values.count])], metadata: [])
    try FileSystem.write(header + type.encoded(values), to: "\(folder)/\(name).safetensors")
    return try #require(try SafetensorsCheckpoint(at: "\(folder)/\(name).safetensors").parameters.first)
  }

  @Test func aNormThatIsStoredLessOneIsRoundedFirst() throws {
    try withTemporaryFolder { folder in
      let stored: [Float] = [0.5, -0.25, 0, -1, 2]
      let weight = try parameter(stored, .bf16, "norm", in: folder)
      let fold = ColumnFold(
        source: SiteSource(site: "s", maker: .norm(weight: weight, added: 1, bias: nil), readers: ["w"]))
      let wanted: [Float] = [2, 0.7, 3, 1.5, .infinity]
      let divided = try fold.divided(by: wanted)
      let kept = ElementType.bf16.values(of: divided.parts[0].bytes)
      // 1.5 / 2 - 1; 0 stays where nothing can be divided, and so does what would vanish.
      #expect(kept[0] == -0.25 && kept[3] == -1 && kept[4] == 2)
      #expect(divided.scales[0] == 2 && divided.scales[3] == 1 && divided.scales[4] == 1)
      for place in 0..<5 where place != 3 && place != 4 {
        #expect(abs(divided.scales[place] - wanted[place]) < 0.02 * wanted[place])
        #expect(abs((kept[place] + 1) * divided.scales[place] - (stored[place] + 1)) <= 1e-6)
      }
    }
  }

  @Test func aNormsBiasStaysWithinItsType() throws {
    try withTemporaryFolder { folder in
      let weight = try parameter([1, 1, 1, 3], .f16, "norm", in: folder)
      let bias = try parameter([40000, -60000, 8, -65504], .f16, "bias", in: folder)
      let fold = ColumnFold(
        source: SiteSource(site: "s", maker: .norm(weight: weight, added: 0, bias: bias), readers: ["w"]))
      // 40,000 / 0.5 and 60,000 / 0.25 are no halves; what is multiplied by 2 is.
      let divided = try fold.divided(by: [0.5, 0.25, 0.25, 2])
      #expect(divided.scales == [1, 1, 0.25, 2])
      #expect(ElementType.f16.values(of: divided.parts[0].bytes) == [1, 1, 4, 1.5])
      #expect(ElementType.f16.values(of: divided.parts[1].bytes) == [40000, -60000, 32, -32752])
    }
  }

  @Test func aBiasOfHalvesChoosesTheFactorsOfItsRows() throws {
    try withTemporaryFolder { folder in
      let bias = try parameter([0.3, 0, 1], .bf16, "bias", in: folder)
      let before = try bias.allElements()
      let fold = ColumnFold(
        source: SiteSource(
          site: "s", maker: .matrix(name: "v", outputs: 3, bias: bias, rows: [1, 2, 1, 2]), readers: ["o"]))
      #expect(fold.sharing == [1, 2, 1, 2])
      let divided = try fold.divided(by: [1.7, 1.3, 1.7, 1.3])
      let kept = ElementType.bf16.values(of: divided.parts[0].bytes)
      let divisors = try #require(divided.divisors)
      // Row 0 is no value; row 1 has no bias that would be rounded.
      #expect(divisors[0] == 1 && kept[0] == before[0] && divisors[1] == 1.7 && kept[1] == 0)
      #expect(divisors[2] != 1.3 && abs(divisors[2] - 1.3) < 0.01 && kept[2] * divisors[2] == 1)
      #expect(divided.scales == [divisors[1], divisors[2], divisors[1], divisors[2]])
    }
  }
}
