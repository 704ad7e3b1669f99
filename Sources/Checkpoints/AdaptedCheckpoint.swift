public import EspalierBasics

/// A base model with a PEFT adapter merged into it, lazily: parameters are computed when they are read.
///
/// LoRA (with rsLoRA, DoRA, patterns of ranks and alphas, embeddings, Conv1D), IA3, modules saved in full and resized
/// embeddings. Every tensor of the adapter is used exactly once, or opening fails and names it.
public struct AdaptedCheckpoint: Checkpoint {
  public let location: String
  public let config: JSON?
  public let parameters: [Parameter]
  public let folder: String?
  public let weightFiles: [String]
  public let warnings: [Problem]

  static let weightsName = "adapter_model.safetensors"

  /// - Parameter folder: has `adapter_config.json` and `adapter_model.safetensors`.
  /// - Throws: every problem found; shapes are checked from headers, no weight is read.
  public init(base: any Checkpoint, adapterAt folder: String) throws(Problems) {
    var problems = Problems()
    let weights = "\(folder)/\(Self.weightsName)"
    let header = problems.collect { () throws(Problem) in try Self.header(in: folder) }
    var configuration: AdapterConfiguration?
    do { configuration = try AdapterConfiguration(in: folder) } catch { problems.all += error.all }
    guard let configuration, let header else { throw problems }

    let modules = AdapterModule.modules(of: header.tensors, problems: &problems)
    if header.tensors.isEmpty {
      problems.add(Problem(.adapterTensor, "the adapter has no tensors", file: weights))
    }
    var application = AdapterApplication(base: base, configuration: configuration)
    application.apply(modules)
    problems.all += application.problems.all
    guard problems.all.isEmpty else { throw Problems(problems.all.map { $0.at(file: weights) }) }

    location = "\(base.location)+\(folder)"
    config = application.config
    parameters = application.parameters
    self.folder = base.folder
    weightFiles = base.weightFiles + [weights]
    warnings = base.warnings + (configuration.warnings + application.warnings).map { $0.at(file: weights) }
  }

  private static func header(in folder: String) throws(Problem) -> SafetensorsHeader {
    let path = "\(folder)/\(weightsName)"
    if !WeightFile.isThere(path), FileSystem.isFile("\(folder)/adapter_model.bin") {
      throw Problem(
        .checkpointFormat, "the adapter is stored as adapter_model.bin, which this version does not read",
        remedy: "Convert it to safetensors first.", file: folder)
    }
    return try SafetensorsHeader(reading: try WeightFile.open(path))
  }
}
