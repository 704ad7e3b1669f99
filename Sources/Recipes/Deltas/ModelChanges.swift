internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNumerics

/// A base and models that were made of it, parameter by parameter, from their headers; what changed is read later.
struct ModelChanges: Sendable {
  /// A parameter of all models.
  struct Target: Sendable {
    /// Nil for zero: an adapter's tensor is its own change.
    var base: Parameter?
    var models: [Parameter]

    var name: String { models[0].name }
    var shape: [Int] { models[0].shape }
    var elementCount: Int { models[0].elementCount }
    /// Others may not change.
    var isFloat: Bool { models[0].elementType.isFloat }

    /// What reading the changes takes.
    var sourceBytes: Int { models.reduce(0) { $0 + DeltaSource.memoryBytes($1, base: base) } }

    func sources(files: FilePool) throws(Problem) -> [DeltaSource] {
      var sources: [DeltaSource] = []
      for model in models { sources.append(try DeltaSource(model, base: base, files: files)) }
      return sources
    }
  }

  let base: any Checkpoint
  let baseName: String
  /// As the models were named.
  let names: [String]
  let targets: [Target]
  /// Where the targets are the tensors of an adapter.
  let adapterConfig: JSON?
  /// Files that are read.
  let inputs: [String]
  let warnings: [Problem]

  /// What the program takes beside tensors: code, libraries, headers, and what reading packed models takes.
  let fixedBytes: Int

  private static let baseBytes = 96 << 20

  /// Opens all, headers only, and compares names and shapes.
  ///
  /// - Parameters:
  ///   - output: is not to be one of the inputs.
  ///   - threads: that read at once.
  ///   - codesAdapters: whether the folder of an adapter means the adapter's own tensors.
  /// - Throws: everything that can be known now.
  init(
    of models: [String], from base: String, writing output: String, locator: ModelLocator, families: [Architecture],
    threads: Int, codesAdapters: Bool = false
  ) throws(Problems) {
    let references = ([base] + models).map { ModelReference(parsing: $0, line: 0) }
    (baseName, names) = (references[0].key, references.dropFirst().map(\.key))
    var problems = Problems()
    var opened: [any Checkpoint] = []
    var adapter: (config: JSON, targets: [Target])?
    var inputs: [String] = []
    for reference in references {
      do throws(Problems) {
        problems.all += try OutputOverlap.problems(writing: output, reading: reference, locator: locator)
        let path = try locator.paths(of: reference)
        let folder = path.adapter ?? path.model
        if FileSystem.isFile("\(folder)/adapter_config.json") { inputs.append("\(folder)/adapter_config.json") }
        if codesAdapters, path.adapter == nil, !opened.isEmpty, let found = try Self.adapter(at: path.model) {
          adapter = found
          inputs += found.targets.prefix(1).flatMap { $0.models.flatMap(\.recipe.storedTensors).map(\.file) }
        } else {
          opened.append(try locator.open(reference, families: families))
          inputs += opened.last?.weightFiles ?? []
        }
      } catch { problems.all += error.all }
    }
    guard problems.all.isEmpty else { throw Problems(problems.all.map(\.withoutLine)) }
    self.base = opened[0]
    self.inputs = inputs
    do throws(Problem) {
      fixedBytes = Self.baseBytes + (try WeightFile.readingBytes(of: inputs, threads: threads))
    } catch { throw Problems([error]) }
    adapterConfig = adapter?.config
    var warnings = opened.flatMap(\.warnings)
    if let adapter {
      targets = adapter.targets
    } else {
      targets = try Self.targets(opened[0], Array(opened.dropFirst()), named: names, warnings: &warnings)
    }
    self.warnings = warnings
  }

  /// The tensors of an adapter's folder; nil if it is none.
  private static func adapter(at path: String) throws(Problems) -> (config: JSON, targets: [Target])? {
    let (configuration, weights) = ("\(path)/adapter_config.json", "\(path)/adapter_model.safetensors")
    guard FileSystem.isFile(configuration), WeightFile.isThere(weights) else { return nil }
    do throws(Problem) {
      let config = try JSON(parsing: try FileSystem.read(configuration, limit: 16 << 20))
      if let refusal = DeltaCheckpoint.refusal(of: config) { throw refusal.at(file: configuration) }
      let header = try SafetensorsHeader(reading: try WeightFile.open(weights))
      let targets = header.tensors.map { Target(base: nil, models: [Parameter($0)]) }
      return (config, targets.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) })
    } catch { throw Problems([error]) }
  }

  private static func targets(
    _ base: any Checkpoint, _ models: [any Checkpoint], named names: [String], warnings: inout [Problem]
  ) throws(Problems) -> [Target] {
    var problems = Problems()
    let known = base.parametersByName()
    for (model, name) in zip(models, names) {
      for parameter in model.parameters where known[ExactString(parameter.name)] == nil {
        problems.add(
          Problem(
            .deltaMismatch, "the base has no such parameter",
            remedy: "A delta changes parameters of its base and adds none.", file: name, tensor: parameter.name))
      }
    }
    let tables = models.map { $0.parametersByName() }
    var targets: [Target] = []
    for original in base.parameters {
      var found: [Parameter] = []
      for (table, name) in zip(tables, names) {
        guard let parameter = table[ExactString(original.name)] else {
          // Integers are tables like position numbers, which some versions of a family store and others do not.
          if original.elementType.isFloat {
            problems.add(
              Problem(.deltaMismatch, "the fine-tune has no such parameter", file: name, tensor: original.name))
          } else {
            warnings.append(
              Problem(
                .deltaMismatch, "the fine-tune has no such integers; the base's stay", file: name,
                tensor: original.name, severity: .warning))
          }
          continue
        }
        guard original.shape == parameter.shape, original.elementType.isFloat == parameter.elementType.isFloat else {
          problems.add(
            Problem(
              .deltaMismatch, "the base's parameter is \(original.shape), the fine-tune's \(parameter.shape)",
              remedy: "A resized vocabulary has no delta; bring both to one with the merge's tokenizer options first.",
              file: name, tensor: original.name))
          continue
        }
        found.append(parameter)
      }
      if found.count == models.count { targets.append(Target(base: original, models: found)) }
    }
    guard problems.all.isEmpty else { throw problems }
    return targets
  }

  /// What the changes would take in float16.
  var halfBytes: Int {
    2 * targets.filter(\.isFloat).reduce(0) { $0 + $1.models.count * $1.elementCount }
  }
}

extension Problem {
  /// The same where there is no recipe whose lines could be told.
  var withoutLine: Problem {
    var problem = self
    problem.context.recipeLine = nil
    return problem
  }

  /// A tensor that needs more than the ceiling; nil if all fit.
  ///
  /// - Parameters:
  ///   - needs: bytes of each, by its name.
  ///   - base: what the program takes beside them.
  static func memoryCeiling(_ needs: [(name: String, bytes: Int)], beside base: Int, allowed: Int) -> Problem? {
    guard let largest = needs.max(by: { $0.bytes < $1.bytes }), base + largest.bytes > allowed else { return nil }
    return Problem(
      .memoryCeiling,
      "the tensor needs \(ByteCount.text(base + largest.bytes)) and --memory allows \(ByteCount.text(allowed))",
      remedy: "Give --memory \((base + largest.bytes) >> 20 + 1)M or more.", tensor: largest.name)
  }
}
