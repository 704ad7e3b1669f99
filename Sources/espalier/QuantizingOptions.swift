import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierLinearMaps
import EspalierRecipes
import EspalierReduction

/// What an error in a column of a weight counts.
struct ImportanceOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp("An importance matrix of llama.cpp, GGUF or the older form.", valueName: "file"),
    completion: .file())
  var imatrix: String?

  @Option(
    help: ArgumentHelp("Statistics of `espalier calibrate`, as importance.", valueName: "file"), completion: .file())
  var statistics: String?

  func validate() throws {
    if imatrix != nil, statistics != nil { throw ValidationError("Give --imatrix or --statistics, not both.") }
  }
}

/// What quantizing a model takes, whether it was quantized before or not.
struct QuantizingOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "The mix of types: \(QuantizationMix.all.map(\.name).joined(separator: ", ")).", valueName: "mix"))
  var type: String?

  @OptionGroup(title: "Types for a target") var fitting: FittingOptions

  @Option(
    help: ArgumentHelp(
      "A type for tensors whose names, as GGUF has them, have a pattern (repeatable, the last that fits holds).",
      valueName: "pattern=type"))
  var tensorType: [String] = []

  @Flag(help: "Every matrix in the type that gives the mix its name, but for --tensor-type.")
  var pure = false

  @Flag(help: "Search scales longer, for the least error of what is decoded. llama.cpp's bytes otherwise.")
  var refined = false

  @OptionGroup var importance: ImportanceOptions

  @Option(
    help: ArgumentHelp("llama.cpp's name for how text is cut before it becomes tokens, if it is not found out."))
  var preTokenizer: String?

  @Flag(
    help: """
      Print the types and sizes that would be written, and stop. Reads no weight, but with --table, which has to be \
      of this very model.
      """)
  var dryRun = false

  @Flag(help: "The same, after types have been chosen for a target.")
  var plan = false

  @OptionGroup var testing: TestingOptions

  @Option(
    name: [.short, .long],
    help: "The file to write, NAME.gguf, beside which NAME.report is written; with --method a folder too.",
    completion: .file())
  var output: String

  @Option(
    help: ArgumentHelp(
      "Bytes of tensors in a file, e.g. 5GB; more becomes NAME-00001-of-0000N.gguf (default: one file).",
      valueName: "size"))
  var splitSize: String?

  @OptionGroup var continuing: ContinuingOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  /// Options that say nothing of a folder, those that were given.
  var givenForBlocks: [String] {
    let all: [(String, Bool)] = [
      ("--type", type != nil), ("--tensor-type", !tensorType.isEmpty), ("--pure", pure), ("--refined", refined),
      ("--imatrix", importance.imatrix != nil), ("--pre-tokenizer", preTokenizer != nil),
      ("--split-size", splitSize != nil), ("--size", fitting.size != nil), ("--types", fitting.types != nil),
      ("--effect-text", !fitting.effectText.isEmpty), ("--signal", fitting.signal != .measured),
      ("--table", fitting.table != nil),
      ("--save-table", fitting.saveTable != nil),
    ]
    return all.filter(\.1).map(\.0)
  }

  /// What a GGUF file needs.
  func check() throws {
    if let type, QuantizationMix.named(type) == nil {
      throw ValidationError(
        "--type \(type) is none of \(QuantizationMix.all.map(\.name).joined(separator: ", ")).")
    }
    if type == nil, pure { throw ValidationError("--pure is for --type: a target gives each tensor its own type.") }
    try fitting.check(type: type, maxKl: testing.gates.maxKl)
    try testing.requireText(except: type == nil ? testing.gates.maxKl : nil)
    if dryRun, type == nil, fitting.table == nil {
      throw ValidationError("A target needs a table: --plan makes one and prints, --dry-run reads no weight.")
    }
    let name = FileSystem.lastComponent(of: output)
    if !name.hasSuffix(".gguf") || name.count == 5 {
      throw ValidationError("--output needs a name like model.gguf; a folder is made by `quantize --method`.")
    }
    if let splitSize {
      guard let bytes = ByteCount.parse(splitSize), bytes >= 1 << 16 else {
        throw ValidationError("--split-size \(splitSize) is not a size from 64 KiB; write it like 5GB or 500MB.")
      }
    }
  }

  var mergeOptions: MergeOptions {
    var options = MergeOptions(output: output)
    options.threads = work.threadCount
    options.memory = work.memoryBytes
    options.shardBytes = splitSize.flatMap { ByteCount.parse($0) } ?? .max
    options.models = lookup.models
    options.architectures = lookup.architecture
    continuing.fill(&options)
    return options
  }

  private func request(for checkpoint: any Checkpoint, again: Bool) throws(Problems) -> QuantizationRequest {
    // Of a target every tensor gets its own type; what the mix says of the others is that they stay.
    var request = QuantizationRequest(mix: type.flatMap { QuantizationMix.named($0) } ?? .standard)
    var problems = Problems()
    request.rules = tensorType.compactMap { text in
      problems.collect { () throws(Problem) in try TensorTypeRule(text) }
    }
    guard problems.all.isEmpty else { throw problems }
    request.isPure = pure
    request.search = refined ? .refined : .reference
    request.allowsRequantizing = again
    request.preTokenizer = preTokenizer
    try request.setImportance(
      imatrix: importance.imatrix, statistics: importance.statistics, for: checkpoint, families: lookup.families())
    return request
  }

  /// What measures a written file on the text that types were found by.
  private func probe(
    _ fitting: TypeFitting?, from checkpoint: any Checkpoint
  ) -> ((String) throws(Problem) -> Double)? {
    guard let fitting, !self.fitting.effectText.isEmpty else { return nil }
    return { (path: String) throws(Problem) -> Double in try fitting.divergence(of: path, from: checkpoint) }
  }

  /// Plans, and carries out unless only the plan is wanted.
  ///
  /// - Parameters:
  ///   - again: whether what is quantized may be quantized again.
  ///   - calibrated: by what matrices are rounded to blocks, if they are not encoded as they are.
  func run(_ model: String, again: Bool, calibrated: CalibratedOptions? = nil) throws {
    var judgement = Judgement()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let checkpoint = try lookup.open(model)
      let test = try testing.read()
      let families = try lookup.families()
      let run = try running.options(work, lookup, default: .exact)
      let listener = style.listener()
      var request = try request(for: checkpoint, again: again)
      let options = mergeOptions
      var fitting = try fitting.fitting(
        request, maxKl: type == nil ? testing.gates.maxKl : nil, of: checkpoint, run: run, listener: listener)
      // A calibrated file is to have types that are calibrated.
      if calibrated != nil, fitting?.types == nil { fitting?.types = GPTQBlocks.types }
      let outcome = try fitting?.find(
        for: checkpoint, named: model, families: families, options: options, listener: listener)
      if let outcome {
        request = outcome.request
        try self.fitting.save(outcome)
      }
      var calibration: BlockCalibration?
      if let rounding = try calibrated?.blocks(for: checkpoint, self) {
        calibration = try BlockCalibration(
          request, calibratedBy: rounding, of: model, checkpoint: checkpoint, run: run, options: options)
      }
      let plan: QuantizationPlan
      if let calibration {
        plan = calibration.plan
      } else {
        plan = try QuantizationPlan(
          request, of: model, checkpoint: checkpoint, families: families, options: options)
      }
      let outline = calibration.map { QuantizationOutline($0, outcome) } ?? QuantizationOutline(plan, outcome)
      for problem in calibration?.warnings ?? plan.warnings { listener.receive(.problem(problem)) }
      if dryRun || self.plan {
        if fitting != nil { TypeFitting.removeScratch(beside: options.output) }
        return print(style.json ? outline.json.text() : outline.text)
      }
      if !style.quiet, !style.json {
        Machine.writeToStandardError(outline.summary + "\n")
      }
      do throws(Problem) {
        let measure = { (path: String) throws(Problem) -> ReductionReport.Evaluation? in
          guard !testing.test.isEmpty else { return nil }
          let written: any Checkpoint
          do throws(Problems) { written = try lookup.open(path) } catch { throw error.all[0] }
          return try test.compare(
            written, named: output, against: checkpoint, named: model, run: run, listener: listener,
            judgement: &judgement)
        }
        let probe = probe(fitting, from: checkpoint)
        let report: QuantizationReport
        if let calibration {
          report = try calibration.execute(
            fit: outcome, probe: probe, run: run, listener: listener, measure: measure)
        } else {
          report = try QuantizationRun.execute(
            plan, fit: outcome, probe: probe, listener: listener, measure: measure)
        }
        if fitting != nil { TypeFitting.removeScratch(beside: options.output) }
        if style.json { print(report.json.text()) } else if !style.quiet { print(report.text) }
      } catch { throw Problems([error]) }
      if let problems = judgement.problems { throw problems }
    }
    if !judgement.passes { throw gateFailed }
  }
}
