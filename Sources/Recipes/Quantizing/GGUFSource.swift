internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierTokenizers

/// A model as a GGUF file is to hold it, before anything is quantized: metadata, and tensors in the order of the file.
struct GGUFSource {
  struct Tensor: Sendable {
    var parameter: Parameter
    /// What it is written in if it is not quantized.
    var plain: WeightFormat
  }

  var metadata: GGUFMetadata
  var tensors: [Tensor]
  var warnings: [Problem]

  /// - Throws: every problem found.
  init(
    of checkpoint: any Checkpoint, request: QuantizationRequest, families: [Architecture]
  ) throws(Problems) {
    guard let file = checkpoint as? GGUFCheckpoint else {
      throw Problems([
        Problem(.checkpointFormat, "only GGUF files are quantized so far", file: checkpoint.location)
      ])
    }
    try self.init(fileAt: file.location)
  }

  /// A model that is a GGUF file already, under its own names: nothing that the file says is lost.
  ///
  /// - Throws: every problem found; `gguf.type` for types that this version cannot read.
  init(fileAt path: String) throws(Problems) {
    let files = try GGUFFiles(at: path)
    metadata = files.metadata
    tensors = try files.storedTensors().map { Tensor(parameter: Parameter($0), plain: $0.format) }
    warnings = []
  }
}
