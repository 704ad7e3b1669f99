public import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierRecipes
public import EspalierRestructuring

extension Renormalization.Mode: ExpressibleByArgument {}

struct Renormalize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Brings a merged or pruned model's activations to the means and deviations of the models it came from.",
    discussion: """
      Channels of averaged models shrink and drift. On a calibration text every channel that enters a map gets the mean \
      and the standard deviation that it has in the --like models, mixed by --weights; the correction is folded into norms, \
      matrices and biases, so that an ordinary model comes out. Where a family has no biases channels are only scaled, and \
      the report says so.

      EXAMPLES
        espalier renormalize merged --like a --like b-aligned --text book.txt -o repaired
        espalier renormalize pruned --like original --correct rescale --text book.txt --test novel.txt -o repaired
      """)

  @Argument(help: "The model that is corrected: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(help: ArgumentHelp("A model whose activations it should have (repeatable).", valueName: "model"))
  var like: [String]

  @Option(help: ArgumentHelp("The share of each --like, e.g. 0.5,0.5 (default: equal).", valueName: "shares"))
  var weights: String?

  @Option(help: "What is corrected. rescale: deviations; reshift: means; both.")
  var correct = Renormalization.Mode.both

  @OptionGroup(title: "Calibration") var calibrating: CalibrationTextOptions
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
    if calibrating.text.isEmpty { throw ValidationError("Give --text, on which activations are measured.") }
    let shares = shares
    if shares.count != like.count || shares.contains(where: { !($0 >= 0) }) || abs(shares.reduce(0, +) - 1) > 1e-6 {
      throw ValidationError("--weights \(weights ?? "") must be a share from 0 for each --like, which add up to 1.")
    }
  }

  private var shares: [Double] {
    guard let weights else { return like.map { _ in 1 / Double(like.count) } }
    return weights.split(separator: ",", omittingEmptySubsequences: false).map { Double($0) ?? .nan }
  }

  func run() throws {
    var judgement = Judgement()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let checkpoint = try lookup.open(model)
      let test = try testing.read()
      var models: [(name: String, checkpoint: any Checkpoint, share: Double)] = []
      for (name, share) in zip(like, shares) { models.append((name, try lookup.open(name), share)) }
      let run = try running.options(work, lookup, default: .exact)
      let request = RenormalizationRequest(like: models, mode: correct, text: try calibrating.read(for: checkpoint))
      let plan = try RenormalizationPlan(
        request, of: model, checkpoint: checkpoint, run: run, writing: writing.options(work, lookup))
      let listener = style.listener()
      for problem in plan.warnings { listener.receive(.problem(problem)) }
      if self.plan {
        return style.show(plan.request.line, json: ["request": .string(plan.request.line)])
      }
      if !style.quiet, !style.json { Machine.writeToStandardError(plan.request.line + "\n") }
      var found = judgement
      defer { judgement = found }
      do throws(Problem) {
        let report = try RenormalizationRun.execute(plan, listener: listener) { (corrected) throws(Problem) in
          try test.compare(
            corrected, named: writing.output, against: checkpoint, named: model, run: run, listener: listener,
            judgement: &found)
        }
        style.show(report.text, json: report.json)
      } catch { throw Problems([error]) }
      if let problems = found.problems { throw problems }
    }
    if !judgement.passes { throw gateFailed }
  }
}
