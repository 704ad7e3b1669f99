internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics
internal import EspalierTokenizers

/// A model as a GGUF file is to hold it, before anything is quantized: metadata, and tensors in the order of the file.
struct GGUFSource {
  struct Tensor: Sendable {
    var content: GGUFExport.Tensor.Content
    var name: String
    var shape: [Int]
    /// What it is written in if it is not quantized.
    var plain: WeightFormat
    /// Names of the checkpoint's parameters that it is made of.
    var sources: [String]

    /// Nil for what is computed.
    var parameter: Parameter? { if case .parameter(let parameter) = content { parameter } else { nil } }
  }

  var metadata: GGUFMetadata
  var tensors: [Tensor]
  /// What happens to values on the way, other than rounding.
  var transforms: [GGUFExport.Transform] = []
  var warnings: [Problem]

  /// - Throws: every problem found.
  init(of checkpoint: any Checkpoint, preTokenizer: String?, families: [Architecture]) throws(Problems) {
    if let file = checkpoint as? GGUFCheckpoint {
      try self.init(fileAt: file, families: families)
    } else if let overlaid = checkpoint as? OverlaidCheckpoint, let file = overlaid.base as? GGUFCheckpoint {
      try self.init(fileAt: file, families: families)
      try replace(by: overlaid, preTokenizer: preTokenizer, families: families)
    } else {
      try self.init(exporting: checkpoint, preTokenizer: preTokenizer, families: families)
    }
    tensors = GGUFTensorRole.sorted(tensors, by: \.name)
  }

  /// A model that is a GGUF file already, under its own names: nothing that the file says is lost.
  private init(fileAt checkpoint: GGUFCheckpoint, families: [Architecture]) throws(Problems) {
    let files = try GGUFFiles(at: checkpoint.location)
    var metadata = files.metadata
    for key in ["split.no", "split.count", "split.tensors.count"] { metadata.remove(key) }
    self.metadata = metadata
    let named = GGUFSources(checkpoint)
    tensors = try files.storedTensors().map {
      Tensor(
        content: .parameter(Parameter($0)), name: $0.name, shape: $0.shape, plain: $0.format,
        sources: named.parameters(of: $0))
    }
    warnings = []
  }

  /// Takes the tensors whose parameters are stored elsewhere from there, under the layouts of the model's family.
  private mutating func replace(
    by overlaid: OverlaidCheckpoint, preTokenizer: String?, families: [Architecture]
  ) throws(Problems) {
    let exported = try GGUFSource(exporting: overlaid, preTokenizer: preTokenizer, families: families)
    let made = Dictionary(exported.tensors.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
    for index in tensors.indices {
      let tensor = tensors[index]
      guard tensor.shape.count > 1, tensor.sources.contains(where: { overlaid.replaced.contains(ExactString($0)) })
      else {
        continue
      }
      guard let other = made[ExactString(tensor.name)], other.shape == tensor.shape else {
        throw Problems([
          Problem(
            .ggufFamily, "the family has no such tensor, so that it cannot be calibrated",
            remedy: "Quantize it without --method.", file: overlaid.location, tensor: tensor.name)
        ])
      }
      (tensors[index].content, tensors[index].sources) = (other.content, other.sources)
    }
  }

  /// A model of a family whose GGUF files are known.
  private init(
    exporting checkpoint: any Checkpoint, preTokenizer: String?, families: [Architecture]
  ) throws(Problems) {
    guard let config = checkpoint.config else {
      throw Problems([Problem(.checkpointConfig, "the model has no config.json", file: checkpoint.location)])
    }
    guard let family = Architecture.recognise(config: config, among: families) else {
      throw Problems([
        Problem(
          .ggufFamily, "no family is known for the model type `\(config["model_type"]?.string ?? "")`",
          file: checkpoint.location)
      ])
    }
    let export = try family.ggufExport(
      of: checkpoint, families: families, name: FileSystem.lastComponent(of: checkpoint.location))
    metadata = export.metadata
    warnings = export.warnings
    transforms = export.transforms
    tensors = export.tensors.map { tensor in
      let stored = tensor.parameter?.elementType ?? .f32
      return Tensor(
        content: tensor.content, name: tensor.name, shape: tensor.shape,
        plain: .elements(tensor.staysFloat32 || ![.f16, .bf16].contains(stored) ? .f32 : stored),
        sources: tensor.sources)
    }
    let rows = export.tensors.first { $0.role.kind == .tokenEmbedding }?.shape.first
    // Of an adapter on a GGUF file the file has the vocabulary.
    if checkpoint.folder.map({ !FileSystem.isFile("\($0)/tokenizer.json") }) ?? true,
      let file = checkpoint.weightFiles.first(where: { $0.hasSuffix(".gguf") })
    {
      let base = try GGUFFiles(at: file).metadata
      if base.text("tokenizer.ggml.model") != nil {
        metadata.copyTokenizer(from: base)
        return
      }
    }
    do throws(Problem) {
      warnings += try metadata.setTokenizer(of: checkpoint, rows: rows, preTokenizer: preTokenizer)
    } catch {
      guard error.code == .tokenizerMissing else { throw Problems([error]) }
      metadata.set("tokenizer.ggml.model", to: .text("none"))
      warnings.append(
        Problem(
          .tokenizerMissing,
          "the model has no tokenizer, and neither will the file: programs can run it on numbers alone",
          remedy: error.remedy, file: checkpoint.location, severity: .warning))
    }
  }
}

/// Which parameters of a model come from which tensors of its GGUF file.
private struct GGUFSources {
  private var names: [String: [(offset: Int, name: String)]] = [:]

  init(_ checkpoint: GGUFCheckpoint) {
    for parameter in checkpoint.parameters {
      for tensor in parameter.recipe.storedTensors {
        names[tensor.file, default: []].append((tensor.offset, parameter.name))
      }
    }
    for file in names.keys { names[file]?.sort { ($0.offset, $0.name) < ($1.offset, $1.name) } }
  }

  /// Slices of a tensor lie inside of it.
  func parameters(of tensor: StoredTensor) -> [String] {
    (names[tensor.file] ?? []).filter { $0.offset >= tensor.offset && $0.offset < tensor.offset + tensor.byteCount }
      .map(\.name)
  }
}
