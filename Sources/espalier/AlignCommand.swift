public import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierRecipes
public import EspalierRestructuring

extension AlignmentOptions.Weighing: ExpressibleByArgument {}

struct Align: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Brings models into the order of another, so that the same units lie in the same places.",
    discussion: """
      Channels, heads and experts have no order of their own. Two models that were trained apart are averaged better \
      once the units of one stand where those of the other do; what the reordered model computes stays as it was. \
      Units are matched by weights, or with --text by what they do on it. Several models are each matched to the one, \
      and written into folders of the output under their own names. With --to-mean no model sets the order: in turn \
      each is matched by weights to the mean of the others, until nothing changes.

      EXAMPLES
        espalier align b --to a -o b-aligned
        espalier align b --to a --text book.txt --sequences 16 --length 256 -o b-aligned
        espalier align b c d --to a -o aligned
        espalier align a b c --to-mean -o aligned
        espalier barrier a b-aligned --text novel.txt --plot barrier.svg
      """)

  @Argument(help: "What is reordered: folders, GGUF files, or model+adapter.", completion: .directory)
  var models: [String]

  @Option(help: ArgumentHelp("The model that sets the order; of the same family and sizes.", valueName: "model"))
  var to: String?

  @Flag(help: "Align the models with each other, each to the mean of the others; by weights.")
  var toMean = false

  @OptionGroup(title: "Matching by activations") var calibrating: CalibrationTextOptions

  @Option(
    help: """
      balanced: each matrix counts by the cosine of the two, vectors not at all; plain: all weights by their inner \
      product, so that their distance becomes least.
      """)
  var weighing = AlignmentOptions.Weighing.balanced

  @Option(
    help: ArgumentHelp("An axis that stays as it is, as `espalier groups` names it (repeatable).", valueName: "axis"))
  var keep: [String] = []

  @Option(help: "Try so many times more, from the order as it is, the axes in an order of chance; the best counts.")
  var restarts = 0

  @Option(help: "Seed of these orders, and of the turns of --to-mean.")
  var restartSeed: UInt64 = 0

  @Flag(help: "Do not compare singular vectors, which takes longest where matrices are large.")
  var noSingularVectors = false

  @OptionGroup var testing: TestingOptions

  @Flag(help: "Say what would be done, touch nothing.")
  var plan = false

  @OptionGroup var writing: WritingOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    try testing.requireText()
    if (to == nil) != toMean { throw ValidationError("Give either --to, the model that sets the order, or --to-mean.") }
    if toMean {
      if models.count < 2 { throw ValidationError("--to-mean takes at least two models.") }
      if !calibrating.text.isEmpty { throw ValidationError("--to-mean matches by weights: leave --text out.") }
      if !testing.test.isEmpty { throw ValidationError("--to-mean measures nothing: leave --test out.") }
      if noSingularVectors { throw ValidationError("--to-mean compares no singular vectors.") }
      if restarts > 0 { throw ValidationError("--restarts goes with --to alone.") }
    }
    if restarts < 0 { throw ValidationError("--restarts must be at least 0.") }
    let names = models.map { FileSystem.lastComponent(of: $0) }
    if models.count > 1, let unnamed = names.first(where: { [".", ".."].contains($0) }) {
      throw ValidationError("outputs have the names of the models: give the name of the folder \(unnamed).")
    }
    if let twice = names.first(where: { name in names.count { $0 == name } > 1 }) {
      throw ValidationError("two models are called \(twice): align them one by one.")
    }
  }

  func run() throws {
    guard let to else { return try runToMean() }
    var judgement = Judgement()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let test = try testing.read()
      let reference = try lookup.open(to)
      let run = try running.options(work, lookup, default: .exact)
      let listener = style.listener()
      // All are planned before the first is done, so that what is wrong is found at once.
      var plans: [AlignmentPlan] = []
      var problems = Problems()
      for model in models {
        do throws(Problems) {
          if let plan = try self.plan(model, to: reference, named: to, run, listener) { plans.append(plan) }
        } catch { problems.all += error.all }
      }
      if problems.errors.isEmpty, let lack = AlignmentPlan.lackOfSpace(for: plans) { problems.add(lack) }
      guard problems.errors.isEmpty else { throw problems }
      for plan in plans {
        for problem in plan.warnings { listener.receive(.problem(problem)) }
        let summary = "\(plan.conversion.options.output): \(plan.request.line)"
        if self.plan {
          print(style.json ? plan.json.text() : "\(summary), at most \(ByteCount.text(plan.workingBytes)) of memory")
          continue
        }
        if !style.quiet, !style.json { Machine.writeToStandardError(summary + "\n") }
        var found = judgement
        defer { judgement = found }
        do throws(Problem) {
          let report = try AlignmentRun.execute(plan, listener: listener) { (aligned) throws(Problem) in
            try test.compare(
              aligned, named: plan.conversion.options.output, against: plan.checkpoint, named: plan.model, run: run,
              listener: listener, judgement: &found)
          }
          style.show(report.text, json: report.json)
        } catch { throw Problems([error]) }
        if let problems = found.problems { throw problems }
      }
    }
    if !judgement.passes { throw gateFailed }
  }

  /// - Returns: nil for one of several that an interrupted run has written whole.
  private func plan(
    _ model: String, to reference: any Checkpoint, named name: String, _ run: RunOptions,
    _ listener: any ProgressListener
  ) throws(Problems) -> AlignmentPlan? {
    let checkpoint = try lookup.open(model)
    var request = AlignmentRequest(to: reference, named: name)
    request.options = options
    request.comparesSingularVectors = !noSingularVectors
    if !calibrating.text.isEmpty { request.text = try calibrating.read(for: checkpoint) }
    let output = output(of: model)
    do throws(Problem) {
      if models.count > 1, try AlignmentPlan.isWritten(request, of: checkpoint, run: run, writing: output) {
        listener.receive(.note("\(output.output) is written already"))
        return nil
      }
    } catch { throw Problems([error]) }
    return try AlignmentPlan(request, of: model, checkpoint: checkpoint, run: run, writing: output)
  }

  private var options: AlignmentOptions {
    var options = AlignmentOptions()
    options.keeping = Set(keep)
    (options.weighing, options.restarts, options.seed) = (weighing, restarts, restartSeed)
    return options
  }

  private func output(of model: String) -> MergeOptions {
    var options = writing.options(work, lookup)
    if models.count > 1 { options.output += "/" + FileSystem.lastComponent(of: model) }
    return options
  }

  private func runToMean() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      var opened: [(name: String, checkpoint: any Checkpoint, writing: MergeOptions)] = []
      for model in models { opened.append((model, try lookup.open(model), output(of: model))) }
      let plan = try MeanAlignmentPlan(
        opened, options: options, run: try running.options(work, lookup, default: .exact))
      let listener = style.listener()
      for problem in plan.warnings { listener.receive(.problem(problem)) }
      let summary = "\(writing.output): \(plan.line)"
      if self.plan {
        print(style.json ? plan.json.text() : "\(summary), at most \(ByteCount.text(plan.workingBytes)) of memory")
        return
      }
      if !style.quiet, !style.json { Machine.writeToStandardError(summary + "\n") }
      do throws(Problem) {
        for report in try MeanAlignmentRun.execute(plan, listener: listener) {
          style.show(report.text, json: report.json)
        }
      } catch { throw Problems([error]) }
    }
  }
}
