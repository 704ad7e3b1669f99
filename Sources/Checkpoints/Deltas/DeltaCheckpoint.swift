public import EspalierBasics
internal import EspalierNumerics

/// A base with coded changes added to it, lazily: values are decoded when they are read.
public struct DeltaCheckpoint: Checkpoint {
  public let location: String
  public let config: JSON?
  public let parameters: [Parameter]
  public let folder: String?
  public let weightFiles: [String]
  public let warnings: [Problem]
  public let embeddedFiles: [String: [UInt8]]

  /// Opens a delta file on its base.
  ///
  /// - Throws: `delta.base` for another base; every problem of the file.
  public init(base: any Checkpoint, deltaAt path: String) throws(Problems) {
    let file: DeltaFile
    do throws(Problem) {
      file = try DeltaFile(at: path)
      try file.require(base)
    } catch { throw Problems([error]) }
    try self.init(
      base: base, tensors: file.tensors, adapterConfig: file.adapterConfig, path: path)
  }

  /// - Parameters:
  ///   - tensors: changes of parameters of the base, or of the tensors of an adapter.
  ///   - adapterConfig: of the adapter.
  ///   - path: what is said to hold the changes.
  /// - Throws: `delta.base` where a change fits no parameter; what applying an adapter throws.
  public init(
    base: any Checkpoint, tensors: [DeltaTensor], adapterConfig: JSON?, path: String
  ) throws(Problems) {
    location = "\(base.location)+\(path)"
    folder = base.folder
    weightFiles = base.weightFiles + [path]
    embeddedFiles = base.embeddedFiles
    if let adapterConfig {
      let applied = try Self.applying(tensors, adapterConfig, to: base, path: path)
      (config, parameters, warnings) = (applied.config, applied.parameters, base.warnings + applied.warnings)
      return
    }
    (config, warnings) = (base.config, base.warnings)
    var problems = Problems()
    var changed = base.parametersByName()
    for tensor in tensors {
      guard var parameter = changed[ExactString(tensor.name)], parameter.shape == tensor.shape,
        parameter.elementType.isFloat
      else {
        problems.add(
          Problem(
            .deltaBase, "the base has no such parameter of floats of the shape \(tensor.shape)", file: path,
            tensor: tensor.name))
        continue
      }
      parameter.recipe = .updated(parameter.recipe, shape: parameter.shape, by: .delta(tensor))
      changed[ExactString(tensor.name)] = parameter
    }
    guard problems.all.isEmpty else { throw problems }
    parameters = base.parameters.map { changed[ExactString($0.name)] ?? $0 }
  }

  // MARK: - Adapters

  /// Why an adapter's factors cannot be coded; nil if they can.
  public static func refusal(of adapterConfig: JSON) -> Problem? {
    do {
      let configuration = try AdapterConfiguration(adapterConfig)
      guard configuration.method == .lora, !configuration.usesDoRA else {
        return Problem(
          .deltaFormat, "only the factors of plain LoRA adapters are coded",
          remedy: "Take the change of the whole model: `delta make BASE+ADAPTER --base BASE`.")
      }
      return nil
    } catch { return error.all.first }
  }

  /// Factors that are chosen at random take next to nothing in a file, whatever their shapes: what is decoded has to be
  /// bounded by the parameter that they change.
  private static func oversized(_ a: DeltaTensor, _ b: DeltaTensor, for parameter: Parameter) -> Problem? {
    let isRandom = [a, b].contains { if case .random = $0.form { true } else { false } }
    guard isRandom, max(a.elementCount, b.elementCount) > parameter.elementCount else { return nil }
    return Problem(
      .deltaFormat,
      "factors of random entries are larger than the parameter, which has \(parameter.elementCount) elements",
      remedy: "Code them by another method.", tensor: parameter.name)
  }

  /// The adapter is applied as if its factors were stored as float32; then coded ones take their places.
  private static func applying(
    _ tensors: [DeltaTensor], _ json: JSON, to base: any Checkpoint, path: String
  ) throws(Problems) -> (config: JSON?, parameters: [Parameter], warnings: [Problem]) {
    if let refusal = refusal(of: json) { throw Problems([refusal.at(file: path)]) }
    let configuration = try AdapterConfiguration(json)
    let standIns = tensors.map { tensor in
      StoredTensor(
        name: tensor.name, elementType: .f32, shape: tensor.shape, file: path, offset: 0,
        byteCount: 4 * tensor.elementCount)
    }
    let coded = Dictionary(tensors.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
    var problems = Problems()
    let modules = AdapterModule.modules(of: standIns, problems: &problems)
    var application = AdapterApplication(base: base, configuration: configuration)
    application.apply(modules)
    problems.all += application.problems.all
    let parameters = application.parameters.map { parameter in
      var parameter = parameter
      if case .updated(let base, let shape, .lowRank(let a, let b, let scale, let transposed)) = parameter.recipe,
        let a = coded[ExactString(a.name)], let b = coded[ExactString(b.name)]
      {
        if let problem = Self.oversized(a, b, for: parameter) { problems.add(problem) }
        parameter.recipe = .updated(
          base, shape: shape, by: .codedLowRank(a: a, b: b, scale: scale, transposed: transposed))
      } else if parameter.recipe.storedTensors.contains(where: { tensor in standIns.contains(tensor) }) {
        problems.add(Problem(.deltaFormat, "the adapter stores the parameter whole", tensor: parameter.name))
      }
      return parameter
    }
    guard problems.all.isEmpty else { throw Problems(problems.all.map { $0.at(file: path) }) }
    return (application.config, parameters, (configuration.warnings + application.warnings).map { $0.at(file: path) })
  }
}
