public import EspalierArchitectures
public import EspalierBasics
internal import EspalierCalibration
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNumerics

/// Everything about a quantization to GGUF that is known before a weight is read.
public struct QuantizationPlan: Sendable {
  /// A tensor as it is and as it will be.
  struct Tensor: Sendable {
    var name: String
    var shape: [Int]
    var stored: String
    var storedBytes: Int
    var choice: TensorTypes.Choice
    var isQuantizedAlready: Bool
    /// The checkpoint's parameters that it is made of.
    var sources: [String]
    /// What it is written in if it is not quantized.
    var plain: WeightFormat
    /// Whether it is a matrix that may have a quantized type.
    var mayBeQuantized: Bool
    var byteCount: Int
  }

  public let request: QuantizationRequest
  public let checkpoint: any Checkpoint
  public let options: MergeOptions
  public let warnings: [Problem]
  let model: String
  let tensors: [Tensor]
  let layout: OutputLayout
  let jobs: [QuantizationJob]
  let memory: JobRunner.MemoryPlan
  let transforms: [GGUFExport.Transform]
  /// Every tensor begins at a multiple of it.
  let alignment: Int

  /// Where the file ends up.
  public enum Place: Sendable {
    /// Under the output's name, `NAME.gguf`, with `NAME.report` beside it.
    case file
    /// In a folder of the output's name, as `model.gguf`.
    case folder
  }

  /// The folder with the manifest and the report.
  let folder: String

  /// The file to write; of several parts, what they begin with.
  public var output: String { options.output }
  /// Where the manifest and the report of a file lie: beside it, `NAME.report`.
  public static func reportPath(of output: String) -> String { stem(of: output) + ".report" }
  /// The same for a file or a part that is there.
  public static func reportPath(ofWritten file: String) -> String {
    let whole = reportPath(of: file)
    guard let part = GGUFFiles.part(of: FileSystem.lastComponent(of: file)), FileSystem.kind(whole) == nil else {
      return whole
    }
    return FileSystem.join(FileSystem.parent(of: file), "\(part.beginning).report")
  }
  private static func stem(of output: String) -> String {
    output.lowercased().hasSuffix(".gguf") ? String(output.dropLast(5)) : output
  }

  /// - Parameters:
  ///   - model: what it was opened by.
  ///   - place: what the output's name is the name of.
  /// - Throws: every problem that can be known from headers, all at once.
  public init(
    _ request: QuantizationRequest, of model: String, checkpoint: any Checkpoint, families: [Architecture],
    options: MergeOptions, place: Place = .file
  ) throws(Problems) {
    var problems = Problems()
    let source = try GGUFSource(of: checkpoint, preTokenizer: request.preTokenizer, families: families)
    problems.all += source.warnings
    let types = TensorTypes(
      mix: request.mix, model: MixModel(source.metadata), isPure: request.isPure, rules: request.rules,
      hasImportance: request.importance != nil)
    let typed = source.tensors.map { TypedTensor(name: $0.name, shape: $0.shape, plain: $0.plain) }
    let choices = types.choices(for: typed, assigned: request.assigned)
    let importance = ImportanceColumns(request.importance)
    problems.all += importance.problems(among: typed, choices)
    problems.all += Self.warnings(request, typed, choices)
    let metadata = Self.described(source.metadata, request, choices, typed)
    let folder = place == .file ? Self.reportPath(of: options.output) : options.output
    let stem = place == .file ? FileSystem.lastComponent(of: Self.stem(of: options.output)) : "model"
    let layout = problems.collect { () throws(Problem) in
      var requests: [GGUFTensorRequest] = []
      for (tensor, choice) in zip(typed, choices) {
        requests.append(try GGUFTensorRequest(name: tensor.name, format: choice.format, shape: tensor.shape))
      }
      return try OutputLayout(
        gguf: requests, metadata: metadata, fileBytes: options.shardBytes, stem: stem, liesBeside: place == .file)
    }
    guard let layout else { throw problems }
    let tensors = zip(source.tensors, choices).map { tensor, choice -> Tensor in
      let parameter = tensor.parameter
      return Tensor(
        name: tensor.name, shape: tensor.shape, stored: parameter.map(Self.formats) ?? "computed",
        storedBytes: parameter?.recipe.storedTensors.reduce(0) { $0 + $1.byteCount } ?? 0, choice: choice,
        isQuantizedAlready: parameter?.isQuantized ?? false, sources: tensor.sources,
        plain: tensor.plain,
        mayBeQuantized: TypedTensor(name: tensor.name, shape: tensor.shape, plain: tensor.plain)
          .mayBeQuantized(as: GGUFTensorRole(name: tensor.name)),
        byteCount: choice.format.byteCount(of: tensor.shape.reduce(1, *)))
    }
    if !request.allowsRequantizing {
      problems.all += problems.collect { () throws(Problem) in try Self.requantized(tensors, source.tensors) } ?? []
    }
    problems.all += OutputFolder.obstacles(to: layout, at: folder, policy: options.policy)
    problems.all += OutputOverlap.problems(writing: layout, to: folder, reading: checkpoint)
    let jobs = source.tensors.indices.map { index in
      let tensor = source.tensors[index]
      return QuantizationJob(
        outputIndex: index, model: model, content: tensor.content, name: tensor.name, shape: tensor.shape,
        format: choices[index].format, search: request.search, importance: importance.columns(of: typed[index]))
    }
    // A vocabulary is made of parsed files that take several times its own size.
    let headers =
      layout.files.reduce(0) { $0 + 24 * $1.header.count } + importance.byteCount + 2048 * tensors.count
    let memory = problems.collect { () throws(Problem) in
      try JobRunner(
        threads: options.threads, memory: options.memory, allowsNonFinite: options.allowsNonFinite,
        listener: SilentListener()
      ).plan(
        jobs, layout: layout, headerBytes: headers,
        reading: try JobRunner.ReadingMemory(of: checkpoint.weightFiles))
    }
    guard problems.errors.isEmpty, let memory else { throw Problems(problems.errors.uniqued()) }
    self.folder = folder
    (self.request, self.checkpoint, self.options, self.model) = (request, checkpoint, options, model)
    (self.tensors, self.layout, self.jobs, self.memory) = (tensors, layout, jobs, memory)
    transforms = source.transforms
    alignment = GGUFHeader.alignment(in: metadata)
    warnings = (checkpoint.warnings + problems.warnings).uniqued()
  }

  public var byteCount: Int { layout.byteCount }
  var storedBytes: Int { tensors.reduce(0) { $0 + $1.storedBytes } }
  var numberCount: Int { tensors.reduce(0) { $0 + $1.shape.reduce(1, *) } }
  /// Bits a number, over all tensors.
  public var bitsPerWeight: Double {
    8 * Double(tensors.reduce(0) { $0 + $1.byteCount }) / Double(max(1, numberCount))
  }
  /// What a tensor takes in the file, with what follows it.
  func padded(_ bytes: Int) -> Int { (bytes + alignment - 1) / alignment * alignment }
  var movedBytes: Int { jobs.reduce(0) { $0 + $1.movedBytes } }

  // MARK: - Parts

  private static func formats(of parameter: Parameter) -> String {
    var names: [String] = []
    for tensor in parameter.recipe.storedTensors where !names.contains(tensor.format.name) {
      names.append(tensor.format.name)
    }
    return names.joined(separator: " and ")
  }

  /// What the file says of its types.
  private static func described(
    _ metadata: GGUFMetadata, _ request: QuantizationRequest, _ choices: [TensorTypes.Choice], _ tensors: [TypedTensor]
  ) -> GGUFMetadata {
    var metadata = metadata
    var mix = request.mix
    if !request.assigned.isEmpty {
      var bytes: [WeightFormat: Int] = [:]
      for (tensor, choice) in zip(tensors, choices) { bytes[choice.format, default: 0] += tensor.shape.reduce(1, *) }
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
  private static func warnings(
    _ request: QuantizationRequest, _ tensors: [TypedTensor], _ choices: [TensorTypes.Choice]
  ) -> [Problem] {
    var problems: [Problem] = []
    let others = choices.indices.filter { choices[$0].wanted != nil }
    if let first = others.first, let wanted = choices[first].wanted {
      problems.append(
        Problem(
          .quantizationType,
          "\(others.count) tensor\(others.count == 1 ? "" : "s") whose rows are no whole blocks of the type wanted "
            + "get another: \(tensors[first].name) has rows of \(tensors[first].shape.last ?? 0), so "
            + "\(choices[first].format.name) takes the place of \(wanted.name)", severity: .warning))
    }
    for rule in request.rules where !tensors.contains(where: { rule.matches($0.name) }) {
      problems.append(
        Problem(
          .quantizationType, "no tensor has a name with the pattern of \(rule.text)",
          remedy: "Names are those of GGUF files, like blk.0.ffn_down.weight."))
    }
    return problems
  }

  /// What is quantized already and would be rounded again. Of codes with scales the scales are read.
  private static func requantized(
    _ tensors: [Tensor], _ sources: [GGUFSource.Tensor]
  ) throws(Problem) -> [Problem] {
    let files = FilePool()
    var again: [Tensor] = []
    for (tensor, source) in zip(tensors, sources) {
      guard tensor.isQuantizedAlready, tensor.stored != tensor.choice.format.name,
        case .blocks(let type) = tensor.choice.format, let recipe = source.parameter?.recipe,
        try !recipe.hasBlockRows(of: type, columns: tensor.shape.last ?? 1, files: files)
      else { continue }
      again.append(tensor)
    }
    guard let first = again.first else { return [] }
    return [
      Problem(
        .quantizationType,
        "\(again.count) tensor\(again.count == 1 ? " is" : "s are") quantized already (\(first.name): \(first.stored)), "
          + "and rounding twice loses more than rounding once",
        remedy: "Quantize the original, or use `espalier requantize`, which tells each tensor's error.")
    ]
  }
}

extension QuantizationPlan.Tensor {
  var isBlocks: Bool { if case .blocks = choice.format { true } else { false } }
}
