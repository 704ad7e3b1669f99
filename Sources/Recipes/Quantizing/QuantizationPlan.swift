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
    let draft = try QuantizationDraft(request, of: checkpoint, families: families)
    var problems = Problems(draft.warnings)
    let folder = place == .file ? Self.reportPath(of: options.output) : options.output
    let stem = place == .file ? FileSystem.lastComponent(of: Self.stem(of: options.output)) : "model"
    let layout = problems.collect { () throws(Problem) in
      try draft.layout(fileBytes: options.shardBytes, stem: stem, liesBeside: place == .file)
    }
    guard let layout else { throw problems }
    let (tensors, jobs) = (draft.tensors, draft.jobs(of: model))
    if !request.allowsRequantizing {
      problems.all +=
        problems.collect { () throws(Problem) in
          try Self.roundedAgain(tensors, jobs) { (recipe, type, columns) throws(Problem) in
            try recipe.mayHaveBlockRows(of: type, columns: columns)
          }
        } ?? []
    }
    problems.all += OutputFolder.obstacles(to: layout, at: folder, policy: options.policy)
    problems.all += OutputOverlap.problems(writing: layout, to: folder, reading: checkpoint)
    // A vocabulary is made of parsed files that take several times its own size.
    let headers =
      layout.files.reduce(0) { $0 + 24 * $1.header.count } + draft.importance.byteCount + 2048 * tensors.count
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
    transforms = draft.source.transforms
    alignment = GGUFHeader.alignment(in: draft.metadata)
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

  // MARK: - What is quantized already

  /// Makes sure that nothing is rounded again that must not be. Scales of codes are read for it.
  ///
  /// - Throws: `quantize.type` naming the first tensor whose codes do not become blocks as they are.
  func requireCarried() throws(Problem) {
    guard !request.allowsRequantizing else { return }
    let files = FilePool()
    let problems = try Self.roundedAgain(tensors, jobs) { (recipe, type, columns) throws(Problem) in
      try recipe.hasBlockRows(of: type, columns: columns, files: files)
    }
    if let problem = problems.first { throw problem }
  }

  /// What is quantized already and would be rounded again.
  private static func roundedAgain(
    _ tensors: [Tensor], _ jobs: [QuantizationJob],
    unless isCarried: (StorageRecipe, BlockType, _ columns: Int) throws(Problem) -> Bool
  ) throws(Problem) -> [Problem] {
    var again: [Tensor] = []
    for (tensor, job) in zip(tensors, jobs) {
      guard tensor.isQuantizedAlready, tensor.stored != tensor.choice.format.name,
        case .blocks(let type) = tensor.choice.format, case .parameter(let parameter) = job.content,
        try !isCarried(parameter.recipe, type, tensor.shape.last ?? 1)
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
