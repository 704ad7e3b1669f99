import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierLinearMaps
import EspalierRecipes
import EspalierReduction

/// Quantizing by a method of one's own choice, to a folder in a layout that other programs read: what it takes beside
/// what writing a GGUF file takes too.
struct CalibratedOptions: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Quantize by \(methods.joined(separator: ", ")) to a folder; gptq with --type or a target also to a .gguf file. "
        + "(default: blocks of GGUF, encoded as they are)", valueName: "method"))
  var method: String?

  @Option(help: ArgumentHelp("With --method: columns that share a scale, or `row`.", valueName: "n|row"))
  var group: String?

  @Flag(
    inversion: .prefixedNo, exclusivity: .exclusive,
    help: ArgumentHelp("With --method: zero is the middle of every grid (default: but for awq)."))
  var symmetric: Bool?

  @Flag(help: "With --method: every scale has its own zero point; --no-symmetric is the same.")
  var asymmetric = false

  @Option(help: "With --method gptq, obq or rtn: the share of weights that becomes zero besides.")
  var sparsity: Double?

  @Option(help: ArgumentHelp("The same in every group of M inputs, of which N stay.", valueName: "N:M"))
  var pattern: String?

  @OptionGroup var selecting: SelectingOptions
  @OptionGroup(title: "Calibration, with --method") var text: CalibrationTextOptions

  @Flag(help: "Let each block see the original blocks before it, not the quantized ones.")
  var oneShot = false

  @Option(
    help: """
      Columns up to which a second moment is kept whole; wider ones in squares along the diagonal (default: 8192, or \
      any width for methods that need it whole).
      """)
  var momentWidth: Int?

  @Option(
    help: ArgumentHelp(
      "The layout: \(PackedLayout.allCases.map(\.rawValue).joined(separator: ", ")) (default: by the method).",
      valueName: "layout"))
  var format: String?

  @Option(help: "packed: codes and scales; dense: what they stand for, in ordinary tensors, for studies.")
  var store: Store = .packed

  @Flag(help: "Do not measure plain rounding beside.")
  var noBaseline = false

  @Option(help: ArgumentHelp("Largest weight file of a folder, e.g. 5GB or 500MB (default: 5GB).", valueName: "size"))
  var shardSize: String?

  enum Store: String, ExpressibleByArgument, CaseIterable { case packed, dense }

  static let methods = ReductionMethods.quantization.map { $0.card.name }

  /// Options that say nothing without `--method`, those that were given.
  private var given: [String] {
    let all: [(String, Bool)] = [
      ("--group", group != nil), ("--symmetric", symmetric != nil), ("--asymmetric", asymmetric),
      ("--sparsity", sparsity != nil), ("--pattern", pattern != nil), ("--set", !selecting.settings.isEmpty),
      ("--keep", !selecting.matrices.keep.isEmpty),
      ("--only", !selecting.matrices.only.isEmpty), ("--text", !text.text.isEmpty), ("--one-shot", oneShot),
      ("--moment-width", momentWidth != nil),
      ("--format", format != nil), ("--store", store != .packed), ("--no-baseline", noBaseline),
      ("--shard-size", shardSize != nil),
    ]
    return all.filter(\.1).map(\.0)
  }

  func validate() throws {
    if let momentWidth, momentWidth < 0 { throw ValidationError("--moment-width must be at least 0.") }
  }

  /// Refuses options of the other way of quantizing.
  func check(beside other: QuantizingOptions) throws {
    guard let method else {
      if let first = given.first { throw ValidationError("\(first) goes with --method.") }
      return try other.check()
    }
    guard let card = ReductionMethods.card(named: method), Self.methods.contains(method) else {
      throw ValidationError("--method \(method) is none of \(Self.methods.joined(separator: ", ")).")
    }
    if Self.makesFile(other.output) { return try checkFile(method, beside: other) }
    if ["", ".", "..", "/"].contains(FileSystem.lastComponent(of: other.output)) {
      throw ValidationError("--output needs the name of a folder.")
    }
    if let first = other.givenForBlocks.first {
      throw ValidationError("\(first) is of GGUF files: name the --output NAME.gguf, or leave it out to make a folder.")
    }
    if let format {
      guard PackedLayout(rawValue: format) != nil else {
        throw ValidationError(
          "--format \(format) is none of \(PackedLayout.allCases.map(\.rawValue).joined(separator: ", ")).")
      }
      if store == .dense { throw ValidationError("--store dense writes ordinary tensors, which have no --format.") }
    }
    if asymmetric, symmetric == true { throw ValidationError("Give --symmetric or --asymmetric, not both.") }
    if !text.text.isEmpty, other.importance.statistics != nil {
      throw ValidationError("Give --text or --statistics, not both.")
    }
    if let group, CodeWish.Group(group) == nil {
      throw ValidationError("--group \(group) is neither a number of columns nor `row`.")
    }
    if let shardSize, (ByteCount.parse(shardSize) ?? 0) < 1 << 16 {
      throw ValidationError("--shard-size \(shardSize) is not a size from 64 KiB; write it like 5GB or 500MB.")
    }
    if let word = wish(other.fitting.bits).unknown(to: card).first {
      let option = word == .symmetric && asymmetric ? "asymmetric" : word.rawValue
      throw ValidationError("--method \(method) has no --\(option).")
    }
    if sparsity != nil || pattern != nil {
      guard ReductionMethods.makesZeros(method) else {
        throw ValidationError("--method \(method) only rounds; others make zeros too: gptq, obq, rtn.")
      }
      if sparsity != nil, pattern != nil { throw ValidationError("Give --sparsity or --pattern, not both.") }
      try zeros.validate(makesFactors: false)
    }
    try other.testing.requireText()
  }

  private var zeros: BudgetWords {
    var words = BudgetWords()
    (words.sparsity, words.pattern) = (sparsity, pattern)
    return words
  }

  /// Whether the output is a GGUF file.
  static func makesFile(_ output: String) -> Bool { FileSystem.lastComponent(of: output).hasSuffix(".gguf") }

  /// What blocks of a GGUF file need, and cannot have.
  private func checkFile(_ method: String, beside other: QuantizingOptions) throws {
    switch method {
    case "gptq": break
    case "rtn":
      throw ValidationError("Plain rounding to blocks is what --type does alone: leave --method rtn out.")
    default:
      throw ValidationError(
        "--method \(method) makes no blocks of GGUF; gptq does. It makes a folder: give --output another name.")
    }
    let targets = other.fitting.size != nil || other.fitting.bits != nil
    if other.type == nil, !targets {
      throw ValidationError(
        "--method gptq needs --type, --size or --bits for a .gguf file. (A divergence as a target is met by plain "
          + "encoding.)")
    }
    let ofFolders = [
      "--group", "--symmetric", "--asymmetric", "--format", "--store", "--shard-size", "--sparsity", "--pattern",
    ]
    if let first = given.first(where: { ofFolders.contains($0) }) {
      throw ValidationError(
        "\(first) is of folders; --type says what a .gguf file has. (Codes of a folder are carried into blocks that hold "
          + "them by `espalier requantize FOLDER --type`.)")
    }
    if let setting = selecting.settings.first(where: { !$0.hasPrefix("damp=") }) {
      throw ValidationError("--set \(setting): blocks of GGUF leave gptq only `damp`.")
    }
    if !text.text.isEmpty, other.importance.statistics != nil {
      throw ValidationError("Give --text or --statistics, not both.")
    }
    try other.check()
  }

  private func wish(_ bits: Double?) -> CodeWish {
    var wish = CodeWish()
    wish.bits = bits
    wish.group = group.flatMap { CodeWish.Group($0) }
    wish.isSymmetric = asymmetric ? false : symmetric
    return wish
  }

  /// What is known of the inputs.
  private func source(
    for checkpoint: any Checkpoint, _ shared: QuantizingOptions
  ) throws(Problems) -> ReductionRequest.Source {
    if let path = shared.importance.statistics { return .file(path) }
    guard !text.text.isEmpty else { return .nothing }
    return .text(try text.read(for: checkpoint), isSequential: !oneShot)
  }

  /// How the matrices of a GGUF file are rounded; nil without `--method`.
  func blocks(for checkpoint: any Checkpoint, _ shared: QuantizingOptions) throws(Problems) -> ReductionRequest? {
    guard let method else { return nil }
    var request = ReductionRequest(
      method: method, goal: .codes, source: try source(for: checkpoint, shared))
    request.parameters = try selecting.parameters(of: method)
    (request.keep, request.only) = (selecting.matrices.keep, selecting.matrices.only)
    (request.momentLimit, request.measuresBaseline) = (momentWidth, !noBaseline)
    return request
  }

  /// Writes what is asked for: a folder with a method, else a GGUF file.
  ///
  /// - Parameter again: whether what is quantized may be quantized again.
  func run(_ model: String, _ shared: QuantizingOptions, again: Bool) throws {
    if let method, !Self.makesFile(shared.output) {
      try makeFolder(of: model, by: method, shared, again: again)
    } else {
      try shared.run(model, again: again, calibrated: method == nil ? nil : self)
    }
  }

  /// Plans, and carries out unless only the plan is wanted.
  private func makeFolder(of model: String, by method: String, _ shared: QuantizingOptions, again: Bool) throws {
    var judgement = Judgement()
    let style = shared.style
    try reportingProblems(json: style.json) { () throws(Problems) in
      let checkpoint = try shared.lookup.open(model)
      if !again, let first = checkpoint.parameters.first(where: \.isQuantized) {
        throw Problems([
          Problem(
            .quantizationType, "the model is quantized already, and rounding twice loses more than rounding once",
            remedy: "Quantize the original, or use `espalier requantize`.", tensor: first.name)
        ])
      }
      let test = try shared.testing.read()
      let level = sparsity == nil && pattern == nil ? nil : zeros.wish(makesFactors: false).level
      var request = ReductionRequest(
        method: method, goal: level.map { .budget($0) } ?? .codes, source: try source(for: checkpoint, shared))
      let named = try selecting.parameters(of: method)
      do throws(Problem) {
        request.parameters = try wish(shared.fitting.bits).parameters(of: method, beside: named)
      } catch { throw Problems([error]) }
      request.storage = store == .packed ? .packed : .dense
      request.layout = format.flatMap { PackedLayout(rawValue: $0) }
      (request.keep, request.only) = (selecting.matrices.keep, selecting.matrices.only)
      (request.momentLimit, request.measuresBaseline) = (momentWidth, !noBaseline)
      let run = try shared.running.options(shared.work, shared.lookup, default: .exact)
      var writing = shared.mergeOptions
      while writing.output.count > 1, writing.output.hasSuffix("/") { writing.output.removeLast() }
      writing.shardBytes = shardSize.flatMap { ByteCount.parse($0) } ?? 5_000_000_000
      let plan = try ReductionPlan(request, of: model, checkpoint: checkpoint, run: run, writing: writing)
      let listener = style.listener()
      for problem in plan.warnings { listener.receive(.problem(problem)) }
      try plan.carryOut(
        onlyPlan: shared.dryRun || shared.plan, test: test, against: checkpoint, named: model, run: run, style: style,
        listener: listener, judgement: &judgement)
    }
    if !judgement.passes { throw gateFailed }
  }
}

extension ReductionPlan {
  /// Prints the plan, or carries it out and prints what came of it.
  func carryOut(
    onlyPlan: Bool, test: ComparisonTest, against checkpoint: any Checkpoint, named model: String, run: RunOptions,
    style: OutputStyle, listener: any ProgressListener, judgement: inout Judgement
  ) throws(Problems) {
    let outline = ReductionOutline(self)
    guard !onlyPlan else { return print(style.json ? outline.json.text() : outline.text) }
    if !style.quiet, !style.json { Machine.writeToStandardError(outline.summary + "\n") }
    let output = conversion.options.output
    var found = judgement
    defer { judgement = found }
    do throws(Problem) {
      let report = try ReductionRun.execute(self, workers: run.pool, listener: listener) { (reduced) throws(Problem) in
        try test.compare(
          reduced, named: output, against: checkpoint, named: model, run: run, listener: listener,
          judgement: &found)
      }
      if style.json { print(report.json.text()) } else if !style.quiet { print(report.text) }
    } catch { throw Problems([error]) }
    if let problems = found.problems { throw problems }
  }
}
