public import EspalierBasics

/// A model in a GGUF file, as a checkpoint of its family: names, layout and values of parameters, and a config, as the
/// model's Hugging Face folder has them.
///
/// Which family, and how, is decided by who knows families (`EspalierArchitectures`). Without that, the parameters
/// have the file's own names and there is no config.
public struct GGUFCheckpoint: Checkpoint {
  public let location: String
  public let config: JSON?
  public let parameters: [Parameter]
  public let folder: String?
  public let weightFiles: [String]
  public let warnings: [Problem]
  /// The version of the format.
  public let version: Int
  /// What the file says about the model, its tokenizer included.
  public let metadata: GGUFMetadata
  public let embeddedFiles: [String: [UInt8]]

  /// The model under the file's own names.
  ///
  /// - Parameters:
  ///   - path: a GGUF file, any part of a split model, or a folder with one model.
  ///   - warnings: why it is not opened as a model of its family.
  /// - Throws: every problem found; reads headers, no weights.
  public init(unmappedAt path: String, warnings: [Problem] = []) throws(Problems) {
    let files = try GGUFFiles(at: path)
    self.init(
      files, at: path, config: nil, parameters: try files.storedTensors().map(Parameter.init), warnings: warnings)
  }

  /// - Parameters:
  ///   - path: what the files were opened by.
  ///   - config: `config.json` as the family's folders have it.
  ///   - parameters: in any order.
  public init(
    _ files: GGUFFiles, at path: String, config: JSON?, parameters: [Parameter], warnings: [Problem]
  ) {
    location = path
    self.config = config
    self.parameters = parameters.sorted { SafetensorsCheckpoint.precedes($0.name, $1.name) }
    folder = FileSystem.isFolder(path) ? path : nil
    weightFiles = files.paths
    self.warnings = warnings
    version = files.headers.first?.version ?? 0
    metadata = files.metadata
    var embedded: [String: [UInt8]] = [:]
    embedded["tokenizer.json"] = metadata.string("tokenizer.huggingface.json")
    embedded["chat_template.jinja"] = metadata.string("tokenizer.chat_template")
    embeddedFiles = embedded
  }
}
