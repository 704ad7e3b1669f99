public import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierExecution
internal import EspalierNumerics

extension Problem.Code {
  /// A fine-tune that has no parameters, or other ones than the base.
  public static let deltaMismatch = Problem.Code("delta.mismatch")
  /// Two models between which nothing changed.
  public static let deltaNothing = Problem.Code("delta.nothing")
}

/// The change from a base to a fine-tune, or the factors of an adapter, as a delta file: the verb `delta make`.
public struct DeltaMaking: Sendable {
  /// A tensor that is coded: what is subtracted is zero for an adapter's.
  struct Target: Sendable {
    var fineTuned: Parameter
    var base: Parameter?
  }

  let options: DeltaOptions
  let base: any Checkpoint
  let baseName: String
  let fineTunedName: String
  let targets: [Target]
  let adapterConfig: JSON?
  /// Chooses scales, or methods, by the text it has.
  let evaluation: ModelEvaluation?
  public let warnings: [Problem]

  /// What the program takes beside tensors: code, libraries, headers.
  static let baseBytes = 96 << 20
  /// That, and what reading packed models takes.
  private(set) var fixedBytes = DeltaMaking.baseBytes

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
    let locator = ModelLocator(recipeFolder: ".", models: options.models)
    let references = [base, fineTuned].map { ModelReference(parsing: $0, line: 0) }
    self.options = options
    self.evaluation = evaluation
    (baseName, fineTunedName) = (references[0].key, references[1].key)
    var problems = Problems()
    for reference in references {
      do throws(Problems) {
        problems.all += try OutputOverlap.problems(writing: options.output, reading: reference, locator: locator)
      } catch { problems.all += error.all }
    }
    guard problems.all.isEmpty else { throw Problems(problems.all.map(\.withoutLine)) }
    do throws(Problems) {
      let opened = try locator.open(references[0], families: families)
      self.base = opened
      let path = try locator.paths(of: references[1])
      if path.adapter == nil, let adapter = try Self.adapter(at: path.model) {
        adapterConfig = adapter.config
        targets = adapter.targets
        warnings = opened.warnings
      } else {
        let changed = try locator.open(references[1], families: families)
        adapterConfig = nil
        targets = try Self.targets(opened, changed)
        warnings = opened.warnings + changed.warnings
      }
    } catch { throw Problems(error.all.map(\.withoutLine)) }
    let stored = targets.flatMap { $0.fineTuned.recipe.storedTensors + ($0.base?.recipe.storedTensors ?? []) }
    problems.collect { () throws(Problem) in
      fixedBytes += try WeightFile.readingBytes(of: Set(stored.map(\.file)), threads: options.threads)
    }
    problems.all += obstacles()
    guard problems.all.isEmpty else { throw problems }
  }

  private func obstacles() -> [Problem] {
    var problems: [Problem] = []
    if let kind = FileSystem.kind(options.output), !options.force || kind != .file {
      problems.append(
        Problem(
          .outputExists, "there is something at \(options.output) already",
          remedy: kind == .file ? "--force replaces it." : "Choose another name.", file: options.output))
    }
    let needs = targets.map { ($0, bytes(of: $0)) }
    if let largest = needs.max(by: { $0.1 < $1.1 }), fixedBytes + largest.1 > options.memory {
      problems.append(
        Problem(
          .memoryCeiling,
          "the tensor needs \(ByteCount.text(fixedBytes + largest.1)) and --memory allows "
            + ByteCount.text(options.memory),
          remedy: "Give --memory \((fixedBytes + largest.1) >> 20 + 1)M or more.", tensor: largest.0.fineTuned.name)
      )
    }
    return problems
  }

  /// What coding a tensor takes.
  func bytes(of target: Target) -> Int {
    DeltaSource.memoryBytes(target.fineTuned, base: target.base)
      + DeltaEncoder.memoryBytes(target.fineTuned.shape, method: options.method)
  }

  /// The tensors of an adapter's folder; nil if it is none.
  private static func adapter(at path: String) throws(Problems) -> (config: JSON, targets: [Target])? {
    let (configuration, weights) = ("\(path)/adapter_config.json", "\(path)/adapter_model.safetensors")
    guard FileSystem.isFile(configuration), FileSystem.isFile(weights) else { return nil }
    do throws(Problem) {
      let config = try JSON(parsing: try FileSystem.read(configuration, limit: 16 << 20))
      if let refusal = DeltaCheckpoint.refusal(of: config) { throw refusal.at(file: configuration) }
      let header = try SafetensorsHeader(reading: try File.reading(weights))
      let targets = header.tensors.map { Target(fineTuned: Parameter($0), base: nil) }
      return (config, targets.sorted { $0.fineTuned.name.utf8.lexicographicallyPrecedes($1.fineTuned.name.utf8) })
    } catch { throw Problems([error]) }
  }

  private static func targets(_ base: any Checkpoint, _ changed: any Checkpoint) throws(Problems) -> [Target] {
    let names = base.parametersByName()
    var problems = Problems()
    var targets: [Target] = []
    for parameter in changed.parameters {
      guard let original = names[ExactString(parameter.name)] else {
        problems.add(
          Problem(
            .deltaMismatch, "the base has no such parameter",
            remedy: "A delta changes parameters of its base and adds none.", tensor: parameter.name))
        continue
      }
      guard original.shape == parameter.shape, original.elementType.isFloat == parameter.elementType.isFloat else {
        problems.add(
          Problem(
            .deltaMismatch, "the base's parameter is \(original.shape), the fine-tune's \(parameter.shape)",
            remedy: "A resized vocabulary has no delta; bring both to one with the merge's tokenizer options first.",
            tensor: parameter.name))
        continue
      }
      targets.append(Target(fineTuned: parameter, base: original))
    }
    let known = Set(changed.parameters.map { ExactString($0.name) })
    for parameter in base.parameters where !known.contains(ExactString(parameter.name)) {
      problems.add(Problem(.deltaMismatch, "the fine-tune has no such parameter", tensor: parameter.name))
    }
    guard problems.all.isEmpty else { throw problems }
    return targets
  }

  // MARK: - Plan

  /// Numbers of the tensors that may change.
  var elementCount: Int {
    targets.filter { $0.fineTuned.elementType.isFloat }.reduce(0) { $0 + $1.fineTuned.elementCount }
  }

  /// What the delta would take in float16.
  var halfBytes: Int { 2 * elementCount }

  /// What will be done, in a few lines.
  public var plan: String {
    let largest = targets.map { bytes(of: $0) }.max() ?? 0
    return [
      "delta     \(fineTunedName) against \(baseName), \(adapterConfig == nil ? "the model's change" : "the adapter's factors")",
      "method    \(options.record.text())",
      "tensors   \(targets.count), \(Figures.count(elementCount)) numbers, \(ByteCount.text(halfBytes)) in float16",
      "writes    \(options.output)",
      "memory    \(ByteCount.text(fixedBytes + largest)) for the largest tensor, of \(ByteCount.text(options.memory))",
    ].joined(separator: "\n")
  }

  public var planJSON: JSON {
    [
      "event": "planned", "base": .string(baseName), "fine_tune": .string(fineTunedName), "made": options.record,
      "kind": .string(adapterConfig == nil ? "model" : "adapter"), "tensors": .number(targets.count),
      "numbers": .number(elementCount), "bytes_f16": .number(halfBytes), "output": .string(options.output),
      "largest_tensor_bytes": .number(fixedBytes + (targets.map { bytes(of: $0) }.max() ?? 0)),
    ]
  }
}

extension Problem {
  /// The same where there is no recipe whose lines could be told.
  var withoutLine: Problem {
    var problem = self
    problem.context.recipeLine = nil
    return problem
  }
}
