import ArgumentParser
import EspalierBasics
import EspalierCalibration
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNetworks
import EspalierRecipes

struct Calibrate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Gathers what calibration text says about the inputs of every matrix.",
    discussion: """
      Runs text through a model block by block and writes, for every place where rows enter matrices, their number, \
      sums, sums of squares and of magnitudes, and the second moment in float64; Docs/statistics.md describes the file. \
      In exact mode, the default, its bytes depend neither on threads nor on memory.

      EXAMPLES
        espalier calibrate model --text book.txt -o statistics.safetensors
        espalier calibrate model --text book.txt --sequences 64 --length 512 --memory 4G -o statistics.safetensors
        espalier calibrate model --text book.txt -o statistics.safetensors --plan
        espalier calibrate model --text book.txt -o statistics.safetensors --resume
        espalier calibrate --add a.safetensors --add b.safetensors -o both.safetensors
        espalier calibrate model --import imatrix.gguf -o statistics.safetensors
        espalier calibrate model --export statistics.safetensors -o imatrix.gguf
      """)

  @Argument(help: "The model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String?

  @OptionGroup var calibration: CalibrationTextOptions

  @Option(
    help: "Columns up to which a second moment is kept whole; wider ones in squares along the diagonal. 0 keeps none.")
  var momentWidth = 8192

  @Option(
    name: .customLong("import"),
    help: ArgumentHelp("Make statistics of llama.cpp's importance matrix, GGUF or the older form.", valueName: "file"),
    completion: .file())
  var imported: String?

  @Option(
    name: .customLong("export"),
    help: ArgumentHelp(
      "Make an importance matrix of these statistics: GGUF, or the older form where the output does not end in .gguf.",
      valueName: "file"), completion: .file())
  var exported: String?

  @Option(
    help: ArgumentHelp("Add files of statistics of one model up (give it twice).", valueName: "file"),
    completion: .file())
  var add: [String] = []

  @Option(name: [.short, .long], help: "The file to write.", completion: .file())
  var output: String

  @Flag(help: "Say what would be done, touch nothing.")
  var plan = false

  @Flag(help: "Continue an interrupted run.")
  var resume = false

  @Flag(help: "Replace an existing output, and start over if a partial one is there.")
  var force = false

  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    let ways = [!calibration.text.isEmpty, imported != nil, exported != nil, !add.isEmpty].count { $0 }
    if ways != 1 { throw ValidationError("Give one of --text, --import, --export and --add.") }
    if !add.isEmpty, add.count != 2 || model != nil {
      throw ValidationError("--add takes two files of statistics and no model.")
    }
    if add.count == 2, add[0] == add[1] {
      throw ValidationError("--add takes two files; one added to itself counts all twice.")
    }
    if add.isEmpty, model == nil { throw ValidationError("Give a model.") }
    if momentWidth < 0 { throw ValidationError("--moment-width must be at least 0.") }
    if ["", ".", "..", "/"].contains(FileSystem.lastComponent(of: output)) {
      throw ValidationError("--output needs the name of a file.")
    }
  }

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      if add.count == 2 {
        try single { () throws(Problem) in
          try StatisticsFile(at: add[0]).adding(try StatisticsFile(at: add[1]), to: output, force: force)
        }
        return report(["output": .string(output)], "\(output): the sums of \(add[0]) and \(add[1])")
      }
      let checkpoint = try lookup.open(model ?? "")
      if let imported { return try importMatrix(imported, checkpoint) }
      if let exported { return try exportMatrix(exported, checkpoint) }
      try gather(checkpoint)
    }
  }

  private func single<T>(_ body: () throws(Problem) -> T) throws(Problems) -> T {
    do throws(Problem) { return try body() } catch { throw Problems([error]) }
  }

  private func report(_ json: JSON, _ text: String) {
    if style.json { print(json.text()) } else if !style.quiet { print(text) }
  }

  // MARK: - Importance matrices

  private func mapping(_ checkpoint: any Checkpoint) throws(Problems) -> ImportanceMapping {
    let families = try lookup.families()
    return try single { () throws(Problem) in
      try ImportanceMapping(config: checkpoint.config ?? .object([]), families: families)
    }
  }

  private func importMatrix(_ path: String, _ checkpoint: any Checkpoint) throws(Problems) {
    let (mapping, matrix) = (try mapping(checkpoint), try ImportanceMatrix(at: path))
    let unknown = try single { () throws(Problem) in
      try mapping.write(matrix, named: FileSystem.lastComponent(of: path), to: output, force: force)
    }
    report(
      ["output": .string(output), "not_in_model": .array(unknown.map { .string($0) })],
      "\(output): of \(matrix.entries.count) entries, \(matrix.entries.count - unknown.count) are of the model"
        + (unknown.isEmpty ? "" : "; not: " + unknown.prefix(8).joined(separator: ", ")))
  }

  private func exportMatrix(_ path: String, _ checkpoint: any Checkpoint) throws(Problems) {
    let mapping = try mapping(checkpoint)
    let entries = try single { () throws(Problem) in
      if FileSystem.kind(output) != nil {
        guard force else {
          throw Problem(
            .statisticsExist, "the output exists already", remedy: "Choose another name, or give --force.",
            file: output)
        }
        // Nothing is replaced that is not such a matrix.
        guard (try? ImportanceMatrix(at: output)) != nil else {
          throw Problem(
            .statisticsExist, "what is there is no importance matrix; --force does not replace it",
            remedy: "Choose another name, or remove it yourself.", file: output)
        }
      }
      let matrix = try mapping.matrix(of: try StatisticsFile(at: path))
      try matrix.write(to: output)
      return matrix.entries.count
    }
    report(["output": .string(output), "entries": .number(entries)], "\(output): \(entries) entries")
  }

  // MARK: - Gathering

  private func gather(_ checkpoint: any Checkpoint) throws(Problems) {
    let calibrationText = try calibration.read(for: checkpoint)
    let options = try running.options(work, lookup, default: .exact)
    try single { () throws(Problem) in
      // A block is used once, so weights need not stay.
      let network = try Network(
        checkpoint, architectures: options.families, mode: options.mode, residency: .streamed, workers: options.pool)
      let calibration = try Calibration(
        network, sequences: calibrationText.windows.sequences, memory: options.memory,
        reading: try WeightFile.readingBytes(of: checkpoint.weightFiles, threads: options.pool.threadCount),
        momentLimit: momentWidth, workers: options.pool)
      var record = calibrationText.record(mode: options.mode, momentLimit: momentWidth)
      guard !plan else { return report(planJSON(calibration.plan, record), calibration.plan.text(record)) }
      if let problem = StatisticsWriter.obstacle(at: output, resume: resume, force: force) { throw problem }
      record.model = try ModelIdentity(of: checkpoint, workers: options.pool)
      let done = try calibration.run(record, to: output, resume: resume, force: force, listener: style.listener())
      try report(done, calibration.plan, record)
    }
  }

  private func planJSON(_ plan: CalibrationPlan, _ record: StatisticsRecord) -> JSON {
    [
      "protocol": .string(record.cut), "mode": .string(record.mode), "tokens": .number(plan.tokenCount),
      "sites": .number(plan.sites.count), "file_bytes": .number(plan.layout(record).byteCount),
      "activation_bytes": .number(plan.activationBytes), "spills": .bool(plan.spills),
      "passes": .number(plan.blocks.reduce(0) { $0 + $1.passes.count }), "peak_bytes": .number(plan.peakBytes),
    ]
  }

  private func report(
    _ done: Calibration.Report, _ plan: CalibrationPlan, _ record: StatisticsRecord
  ) throws(Problem) {
    let file = try StatisticsFile(at: output)
    let peak = Machine.peakResidentBytes
    let least = file.blocks.compactMap { block in block.similarity.map { ($0, block.name) } }.max { $0.0 < $1.0 }
    let json: JSON = [
      "output": .string(output), "protocol": .string(record.cut), "mode": .string(record.mode),
      "tokens": .number(done.tokens), "sites": .number(done.sites), "resumed_blocks": .number(done.resumedBlocks),
      "seconds": .number(done.seconds), "file_bytes": .number(plan.layout(record).byteCount),
      "planned_peak_bytes": .number(plan.peakBytes), "peak_bytes": peak.map { .number($0) } ?? .null,
      "similarity": .object(
        file.blocks.compactMap { block in block.similarity.map { (block.name, .number($0)) } }),
    ]
    var lines = ["\(output): \(done.sites) sites, \(done.tokens) tokens (\(record.cut); \(record.mode))"]
    if done.resumedBlocks > 0 { lines.append("\(done.resumedBlocks) blocks were there from an earlier run") }
    if let (similarity, name) = least {
      lines.append("the layer that turns its input least: \(name), mean cosine \(Decimals.text(similarity, 4))")
    }
    let seconds = Decimals.text(done.seconds, 1)
    lines.append(
      "\(seconds) s, memory at most \(peak.map { ByteCount.text($0) } ?? "unknown"), planned "
        + ByteCount.text(plan.peakBytes))
    report(json, lines.joined(separator: "\n"))
  }
}
