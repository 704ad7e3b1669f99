public import EspalierBasics
public import EspalierCheckpoints

extension Architecture {
  /// Opens the model at a path, whatever it is stored in: a Hugging Face folder or safetensors file, a GGUF file, a
  /// folder with one GGUF model.
  ///
  /// - Parameter families: the descriptions by which a GGUF file is understood.
  /// - Throws: every problem found; reads headers, no weights.
  public static func openCheckpoint(
    at path: String, families: [Architecture] = builtIn()
  ) throws(Problems) -> any Checkpoint {
    if GGUFFiles.isModel(path) { return try GGUFCheckpoint(at: path, families: families) }
    return try SafetensorsCheckpoint(at: path)
  }
}
