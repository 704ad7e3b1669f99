internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCalibration
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNumerics

/// A quantization while it is planned: the model as a GGUF file is to hold it, and a type for each of its tensors.
struct QuantizationDraft {
  let request: QuantizationRequest
  let source: GGUFSource
  let importance: ImportanceColumns
  private let typed: [TypedTensor]
  private let choices: [TensorTypes.Choice]

  /// - Throws: every problem of the model as a GGUF file.
  init(_ request: QuantizationRequest, of checkpoint: any Checkpoint, families: [Architecture]) throws(Problems) {
    self.request = request
    source = try GGUFSource(of: checkpoint, preTokenizer: request.preTokenizer, families: families)
    typed = source.tensors.map { TypedTensor(name: $0.name, shape: $0.shape, plain: $0.plain) }
    choices = TensorTypes(
      mix: request.mix, model: MixModel(source.metadata), isPure: request.isPure, rules: request.rules,
      hasImportance: request.importance != nil
    ).choices(for: typed, assigned: request.assigned)
    importance = ImportanceColumns(request.importance)
  }

  /// Of the model, its importance and its types.
  var warnings: [Problem] { source.warnings + importance.problems(among: typed, choices) + typeWarnings }

  /// - Parameters:
  ///   - stem: what the names of files begin with.
  ///   - liesBeside: whether files lie beside the folder of the report.
  /// - Throws: what no header can say.
  func layout(fileBytes: Int, stem: String, liesBeside: Bool) throws(Problem) -> OutputLayout {
    var requests: [GGUFTensorRequest] = []
    for (tensor, choice) in zip(typed, choices) {
      requests.append(try GGUFTensorRequest(name: tensor.name, format: choice.format, shape: tensor.shape))
    }
    return try OutputLayout(
      gguf: requests, metadata: metadata, fileBytes: fileBytes, stem: stem, liesBeside: liesBeside)
  }

  var tensors: [QuantizationPlan.Tensor] {
    source.tensors.indices.map { index in
      let (tensor, typed, choice) = (source.tensors[index], typed[index], choices[index])
      let parameter = tensor.parameter
      return QuantizationPlan.Tensor(
        name: tensor.name, shape: tensor.shape, stored: parameter.map(Self.formats) ?? "computed",
        storedBytes: parameter?.recipe.storedTensors.reduce(0) { $0 + $1.byteCount } ?? 0, choice: choice,
        isQuantizedAlready: parameter?.isQuantized ?? false, sources: tensor.sources, plain: tensor.plain,
        mayBeQuantized: typed.mayBeQuantized(as: GGUFTensorRole(name: tensor.name)),
        byteCount: choice.format.byteCount(of: tensor.shape.reduce(1, *)))
    }
  }

  /// - Parameter model: its name, for messages.
  func jobs(of model: String) -> [QuantizationJob] {
    source.tensors.indices.map { index in
      let tensor = source.tensors[index]
      return QuantizationJob(
        outputIndex: index, model: model, content: tensor.content, name: tensor.name, shape: tensor.shape,
        format: choices[index].format, search: request.search, importance: importance.columns(of: typed[index]))
    }
  }

  private static func formats(of parameter: Parameter) -> String {
    var names: [String] = []
    for tensor in parameter.recipe.storedTensors where !names.contains(tensor.format.name) {
      names.append(tensor.format.name)
    }
    return names.joined(separator: " and ")
  }

  /// What the file says of its types.
  var metadata: GGUFMetadata {
    var metadata = source.metadata
    var mix = request.mix
    if !request.assigned.isEmpty {
      var bytes: [WeightFormat: Int] = [:]
      for (tensor, choice) in zip(typed, choices) { bytes[choice.format, default: 0] += tensor.shape.reduce(1, *) }
      let most = bytes.max { ($0.value, $0.key.name) < ($1.value, $1.key.name) }?.key
      mix = most.flatMap { QuantizationMix.nearest(to: $0) } ?? mix
    }
    // At the end, in this order, as llama.cpp's quantizer puts them.
    for key in ["general.quantization_version", "general.file_type"] { metadata.remove(key) }
    metadata.set("general.quantization_version", to: .u32(2))
    metadata.set("general.file_type", to: .u32(mix.fileType))
    if let importance = request.importance {
      metadata.set("quantize.imatrix.file", to: .text(request.importanceName ?? ""))
      metadata.set("quantize.imatrix.dataset", to: .text(importance.datasets.first ?? ""))
      metadata.set("quantize.imatrix.entries_count", to: .u32(UInt32(clamping: importance.entries.count)))
      metadata.set("quantize.imatrix.chunks_count", to: .u32(UInt32(clamping: importance.chunkCount)))
    }
    return metadata
  }

  /// Types that rows did not allow, and patterns that match nothing.
  private var typeWarnings: [Problem] {
    var problems: [Problem] = []
    let others = choices.indices.filter { choices[$0].wanted != nil }
    if let first = others.first, let wanted = choices[first].wanted {
      problems.append(
        Problem(
          .quantizationType,
          "\(others.count) tensor\(others.count == 1 ? "" : "s") whose rows are no whole blocks of the type wanted "
            + "get another: \(typed[first].name) has rows of \(typed[first].shape.last ?? 0), so "
            + "\(choices[first].format.name) takes the place of \(wanted.name)", severity: .warning))
    }
    for rule in request.rules where !typed.contains(where: { rule.matches($0.name) }) {
      problems.append(
        Problem(
          .quantizationType, "no tensor has a name with the pattern of \(rule.text)",
          remedy: "Names are those of GGUF files, like blk.0.ffn_down.weight."))
    }
    return problems
  }
}
