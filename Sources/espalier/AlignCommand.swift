import ArgumentParser
import EspalierBasics
import EspalierNetworks
import EspalierRecipes
import EspalierRestructuring

extension AlignmentRequest.Agreement: ExpressibleByArgument {}
extension AlignmentOptions.Weighing: ExpressibleByArgument {}

struct Align: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Reorders the channels, heads and experts of a model so that they match another model's.",
    discussion: """
      The result computes what the model did; only the order of what is inside it is new. Models that were trained apart \
      can be averaged only after that, if at all: `espalier barrier` tells. report.json and REPORT.md say how well every \
      axis matches.

      EXAMPLES
        espalier align b --to a -o b-aligned
        espalier align b --to a --by activations --text book.txt -o b-aligned
        espalier align b --to a --test novel.txt --singular-vectors -o b-aligned
      """)

  @Argument(help: "The model that is reordered.", completion: .directory)
  var model: String

  @Option(help: ArgumentHelp("The model it is matched with.", valueName: "model"), completion: .directory)
  var to: String

  @Option(help: "What tells which units match: weights, or activations on --text (weights where none are seen).")
  var by = AlignmentRequest.Agreement.weights

  @Option(
    help: """
      What parameters count: balanced, matrices by their cosines and vectors not at all; plain, all by their inner \
      products, so that the distance becomes least.
      """)
  var weigh = AlignmentOptions.Weighing.balanced

  @Option(help: ArgumentHelp("An axis that stays as it is, e.g. hidden (repeatable).", valueName: "axis"))
  var keep: [String] = []

  @Option(help: "Times that all axes are gone through at the most.")
  var sweeps = 50

  @Option(help: "Further starts from the order as it is, with the axes in an order of chance; the best result counts.")
  var restarts = 0

  @Option(help: "Seed of the restarts.")
  var restartSeed: UInt64 = 0

  @Flag(help: "Compare the leading singular vectors before and after too.")
  var singularVectors = false

  @OptionGroup(title: "Calibration") var calibrating: CalibrationTextOptions
  @OptionGroup var testing: TestingOptions
  @OptionGroup var writing: WritingOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    try testing.requireText()
    if by == .activations, calibrating.text.isEmpty { throw ValidationError("--by activations needs --text.") }
    if by == .weights, !calibrating.text.isEmpty { throw ValidationError("--text is for --by activations.") }
    if sweeps < 0 { throw ValidationError("--sweeps must be at least 0.") }
    if !(0...1000).contains(restarts) { throw ValidationError("--restarts must be from 0 to 1000.") }
  }

  func run() throws {
    var judgement = Judgement()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let (first, second) = (try lookup.open(model), try lookup.open(to))
      let test = try testing.read()
      var request = AlignmentRequest(by: by)
      request.options.keeping = Set(keep)
      request.options.sweeps = sweeps
      request.options.weighing = weigh
      request.options.restarts = restarts
      request.options.seed = restartSeed
      request.comparesSingularVectors = singularVectors
      if !calibrating.text.isEmpty { request.text = try calibrating.read(for: first) }
      let run = try running.options(work, lookup, default: .exact)
      let listener = style.listener()
      var found = judgement
      defer { judgement = found }
      do throws(Problem) {
        let aligned = try AlignmentRun.align(first, to: second, request, run: run, listener: listener)
        let evaluation = try test.compare(
          aligned.checkpoint, named: writing.output, against: first, named: model, run: run, listener: listener,
          judgement: &found)
        let report = try AlignmentRun.write(
          aligned, of: model, to: to, request, writing: writing.options(work, lookup), evaluation: evaluation,
          listener: listener)
        if style.json { print(report.json.text()) } else if !style.quiet { print(report.text) }
      } catch { throw Problems([error]) }
      if let problems = found.problems { throw problems }
    }
    if !judgement.passes { throw gateFailed }
  }
}
