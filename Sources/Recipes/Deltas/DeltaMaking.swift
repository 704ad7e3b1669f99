public import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierExecution

extension Problem.Code {
  /// A fine-tune that has no parameters, or other ones than the base.
  public static let deltaMismatch = Problem.Code("delta.mismatch")
  /// Two models between which nothing changed.
  public static let deltaNothing = Problem.Code("delta.nothing")
}

/// The change from a base to a fine-tune, or the factors of an adapter, as a delta file: the verb `delta make`.
public struct DeltaMaking: Sendable {
  let options: DeltaOptions
  let changes: ModelChanges
  /// Chooses scales, or methods, by the text it has.
  let evaluation: ModelEvaluation?
  public var warnings: [Problem] { changes.warnings }

  var base: any Checkpoint { changes.base }
  var baseName: String { changes.baseName }
  var fineTunedName: String { changes.names[0] }
  var adapterConfig: JSON? { changes.adapterConfig }
  /// What each tensor is coded by.
  var methods: [DeltaMethod] { options.method == .auto ? [.ternary, .topk, .darex] : [options.method] }

  /// Opens both, headers only, and compares names and shapes.
  ///
  /// - Parameters:
  ///   - fineTuned: a model, perhaps with an adapter, or the folder of a LoRA adapter, whose factors are coded then.
  ///   - base: the model that it was made from.
  ///   - evaluation: measures candidates on its texts; nil to choose by the error of the weights.
  /// - Throws: everything that can be known now.
  public init(
    of fineTuned: String, from base: String, options: DeltaOptions, families: [Architecture],
    evaluation: ModelEvaluation? = nil
  ) throws(Problems) {
    self.options = options
    self.evaluation = evaluation
    changes = try ModelChanges(
      of: [fineTuned], from: base, writing: options.output,
      locator: ModelLocator(recipeFolder: ".", models: options.models), families: families,
      threads: options.threads, codesAdapters: true)
    let problems = obstacles()
    guard problems.isEmpty else { throw Problems(problems) }
  }

  private func obstacles() -> [Problem] {
    // Parts wait beside the file until it is put together, and that until it is coded.
    let stored = methods.map { method in
      changes.targets.reduce(0) { $0 + DeltaEncoder.storedBytes($1.shape, options: options, method: method) }
    }
    return OutputFolder.obstacles(
      at: options.output, policy: options.policy, bytes: stored.reduce(0, +) + 2 * (stored.max() ?? 0),
      isOurs: Self.isOurs)
      + [
        Problem.memoryCeiling(
          changes.targets.map { ($0.name, bytes(of: $0)) }, beside: changes.fixedBytes, allowed: options.memory)
      ].compactMap { $0 }
  }

  /// Whether a file may be replaced.
  static func isOurs(_ path: String) -> Bool { FileSystem.isFile(path) && DeltaFile.isDelta(path) }

  /// What coding a tensor takes.
  func bytes(of target: ModelChanges.Target) -> Int {
    target.sourceBytes + DeltaEncoder.memoryBytes(target.shape, method: options.method)
  }

  // MARK: - Plan

  private var elementCount: Int { changes.halfBytes / 2 }
  private var largestBytes: Int { changes.fixedBytes + (changes.targets.map { bytes(of: $0) }.max() ?? 0) }

  /// What will be done, in a few lines.
  public var plan: String {
    [
      "delta     \(fineTunedName) against \(baseName), \(adapterConfig == nil ? "the model's change" : "the adapter's factors")",
      "method    \(options.record.text())",
      "tensors   \(changes.targets.count), \(Figures.count(elementCount)) numbers, "
        + "\(ByteCount.text(changes.halfBytes)) in float16",
      "writes    \(options.output)",
      "memory    \(ByteCount.text(largestBytes)) for the largest tensor, of \(ByteCount.text(options.memory))",
    ].joined(separator: "\n")
  }

  public var planJSON: JSON {
    [
      "event": "planned", "base": .string(baseName), "fine_tune": .string(fineTunedName), "made": options.record,
      "kind": .string(adapterConfig == nil ? "model" : "adapter"), "tensors": .number(changes.targets.count),
      "numbers": .number(elementCount), "bytes_f16": .number(changes.halfBytes), "output": .string(options.output),
      "largest_tensor_bytes": .number(largestBytes),
    ]
  }
}
