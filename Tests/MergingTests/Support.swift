import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierMerging
import EspalierNumerics
import TestSupport

/// One tensor to be merged from values in memory, by way of files: as in a real run, but for the recipe.
struct TestMerge {
  var method: String
  /// The base first, where the method gives it a role.
  var inputs: [[Float]]
  var shape: [Int]
  var hasBase = true
  /// Parameters of the tensor; those of the card that are missing get their defaults.
  var shared: [String: ParameterValue] = [:]
  /// Parameters of every input but the base.
  var each: [[String: ParameterValue]] = []
  var name = "t"
  var seed: UInt64 = 0
  var inputType = ElementType.f32
  var outputType = ElementType.f32

  init(
    _ method: String, _ inputs: [[Float]], shape: [Int]? = nil, base hasBase: Bool = true,
    _ shared: [String: ParameterValue] = [:], each: [[String: ParameterValue]] = []
  ) {
    self.method = method
    self.inputs = inputs
    self.shape = shape ?? [inputs[0].count]
    self.hasBase = hasBase
    self.shared = shared
    self.each = each
  }

  /// The parameters with the card's defaults.
  func parameters() -> MergeParameters {
    let cards = MergeMethods.named(method)?.card.parameters ?? []
    var all = shared
    var perInput = [[String: ParameterValue]](repeating: [:], count: hasBase ? 1 : 0) + each
    perInput += Array(repeating: [:], count: max(0, inputs.count - perInput.count))
    for card in cards {
      guard let standard = card.standard else { continue }
      if card.scope == .tensor {
        all[card.name] = all[card.name] ?? standard
      } else {
        for index in perInput.indices where !(hasBase && index == 0) {
          perInput[index][card.name] = perInput[index][card.name] ?? standard
        }
      }
    }
    return MergeParameters(shared: all, inputs: perInput, hasBase: hasBase)
  }

  func result(threads: Int = 2) throws -> [Float] {
    try TestMerge.run([self], threads: threads).values[name] ?? []
  }
}

extension TestMerge {
  struct Output {
    var values: [String: [Float]]
    /// Bytes of every weight file.
    var files: [String: [UInt8]]
    /// Bytes of every tensor.
    var bytes: [String: [UInt8]]
  }

  /// Merges tensors of different names in one run.
  static func run(
    _ merges: [TestMerge], threads: Int = 2, memory: Int = 4 << 30, shardBytes: Int = 1 << 40,
    allowsNonFinite: Bool = false
  ) throws -> Output {
    try withTemporaryFolder { folder in
      let models = try writeInputs(merges, to: folder)
      let layout = OutputLayout(
        merges.map { .init(name: $0.name, elementType: $0.outputType, shape: $0.shape) }, shardBytes: shardBytes)
      var jobs: [MergeJob] = []
      for (index, merge) in merges.enumerated() {
        let inputs = merge.inputs.indices.map { MergeJob.Input(model: "model \($0)", parameter: models[index][$0]) }
        jobs.append(
          try MergeJob(
            outputIndex: index, output: layout.tensors[index], inputs: inputs,
            operation: .method(merge.method, merge.parameters()), seed: merge.seed))
      }
      let output = try OutputFolder(at: "\(folder)/out", layout: layout, fingerprint: [:], policy: .init())
      let runner = JobRunner(
        threads: threads, memory: memory, allowsNonFinite: allowsNonFinite, listener: SilentListener())
      _ = try runner.run(jobs, into: output, plan: try runner.plan(jobs, layout: layout, headerBytes: 0))
      try output.commit(adding: [])
      return try read("\(folder)/out", layout: layout)
    }
  }

  /// One file a model; the parameters by merge and model.
  private static func writeInputs(_ merges: [TestMerge], to folder: String) throws -> [[Parameter]] {
    var parameters = [[Parameter]](repeating: [], count: merges.count)
    for model in 0..<(merges.map(\.inputs.count).max() ?? 0) {
      let present = merges.indices.filter { merges[$0].inputs.count > model }
      let path = "\(folder)/model-\(model).safetensors"
      try TestTensor.write(present.map { merges[$0].stored(model) }, to: path)
      let read = try SafetensorsCheckpoint(at: path).parametersByName()
      for index in present { parameters[index] += [read[ExactString(merges[index].name)]].compactMap { $0 } }
    }
    return parameters
  }

  private func stored(_ model: Int) -> TestTensor { TestTensor(name, shape, inputs[model], inputType) }

  private static func read(_ folder: String, layout: OutputLayout) throws -> Output {
    var output = Output(values: [:], files: [:], bytes: [:])
    for file in layout.files { output.files[file.name] = try FileSystem.read("\(folder)/\(file.name)") }
    for tensor in layout.tensors {
      let file = output.files[layout.files[tensor.file].name] ?? []
      let bytes = Array(file[tensor.offset..<tensor.offset + tensor.byteCount])
      output.bytes[tensor.name] = bytes
      output.values[tensor.name] = tensor.elementType.values(of: bytes)
    }
    return output
  }
}

// MARK: - Values

extension SeededGenerator {
  /// Multiples of 1/64 in [-1/8, 1/8]: seventeen values, so that equal magnitudes abound; exact in bf16.
  mutating func grid(_ count: Int) -> [Float] {
    (0..<count).map { _ in Float(Int(next() % 17) - 8) / 64 }
  }

  mutating func permutation(_ count: Int) -> [Int] { Array(0..<count).shuffled(using: &self) }
}

/// A base and models made of it by adding small changes, each input rounded to `type`.
func fineTunes(_ count: Int, models: Int, seed: UInt64, type: ElementType = .f32) -> [[Float]] {
  var generator = SeededGenerator(seed: seed)
  let base = generator.floats(count)
  let changed = (0..<models).map { _ in zip(base, generator.floats(count, scale: 0.25)).map { $0 + $1 } }
  return ([base] + changed).map { type.values(of: type.bytes(of: $0)) }
}

extension Array where Element == Float {
  /// Largest distance to other values, in multiples of what one float32 at the largest of their magnitudes can tell.
  func ulps(from expected: [Double]) -> Double {
    guard count == expected.count else { return .infinity }
    let scale = expected.reduce(1e-30) { Swift.max($0, abs($1)) }
    return zip(self, expected).reduce(0) { Swift.max($0, abs(Double($1.0) - $1.1)) } / (scale * 0x1p-23)
  }
}
