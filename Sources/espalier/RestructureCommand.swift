import ArgumentParser
import EspalierBasics
import EspalierLinearMaps
import EspalierNetworks
import EspalierRecipes
import EspalierReduction
import EspalierRestructuring

struct Restructure: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Takes layers, channels, heads or experts out of a model, and gives back an ordinary, smaller one.",
    discussion: """
      What leaves is gone from every tensor and from the config: the result is smaller and faster everywhere, and opens \
      wherever a model of its family does. `espalier groups MODEL` lists what can leave. report.json and REPORT.md say \
      what was decided, and with --test what it cost.

      EXAMPLES
        espalier restructure model --method drop-layers --parameters 0.75 --text book.txt -o shallow
        espalier restructure model --method width --parameters 0.8 --text book.txt --test novel.txt -o narrow
        espalier restructure model --method width --parameters 0.8 --repair --text book.txt -o repaired
        espalier restructure model --method width --set axis=heads --parameters 0.9 --statistics s.safetensors -o out
        espalier methods --restructuring
      """)

  @Argument(help: "The model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(
    help: ArgumentHelp("How what leaves is chosen; `espalier methods --restructuring` tells.", valueName: "method"))
  var method: String

  @Option(
    help: ArgumentHelp(
      "What is to be left: a share of the parameters (0.75), or a number (100M).", valueName: "share|n"))
  var parameters: String

  @OptionGroup(title: "Calibration") var calibrating: CalibratingOptions

  @Option(
    name: .customLong("set"), help: ArgumentHelp("A parameter of the method (repeatable).", valueName: "name=value"))
  var settings: [String] = []

  @Flag(
    help: """
      Let what stays of a map make up for inputs that left it, by least squares on what calibration text says of them.
      """)
  var repair = false

  @Option(
    help: ArgumentHelp(
      "With --repair: added to the inputs' mean squares, as a share of their mean (default: 0.01).", valueName: "share")
  )
  var damp: Double?

  @Option(
    help: ArgumentHelp(
      "The model that this one was tuned from, for scores by what tuning changed.", valueName: "model"),
    completion: .directory)
  var base: String?

  @Option(
    help: ArgumentHelp(
      "Prompts that differ in a group of people alone, JSON lines {\"a\", \"b\"}, for methods that go by bias.",
      valueName: "file"), completion: .file())
  var pairs: String?

  @Option(
    help: ArgumentHelp(
      """
      Measure what a change does to predictions on so many windows of each text (default: as many as statistics are
      gathered from).
      """, valueName: "windows"))
  var effectLimit: Int?

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
    if RestructuringRequest.Goal(parameters) == nil {
      throw ValidationError("--parameters \(parameters) is neither a share like 0.75 nor a number like 100M.")
    }
    if !StructuralMethods.all.contains(where: { $0.card.name == method }) {
      let names = StructuralMethods.all.map { $0.card.name }.joined(separator: ", ")
      throw ValidationError("--method \(method) is none of \(names).")
    }
    if let damp, !repair || !(0...1e6).contains(damp) {
      throw ValidationError(repair ? "--damp \(damp) is not 0 or more." : "--damp goes with --repair.")
    }
    if calibrating.momentWidth != nil {
      throw ValidationError("--moment-width has no use here: second moments are kept whole.")
    }
    if let effectLimit {
      if effectLimit < 1 { throw ValidationError("--effect-limit must be at least 1.") }
      if calibrating.text.text.isEmpty { throw ValidationError("--effect-limit goes with --text.") }
    }
    let takesPairs = StructuralMethods.all.contains { $0.card.name == method && $0.needsPairs }
    if takesPairs != (pairs != nil) {
      throw ValidationError(
        takesPairs ? "--method \(method) needs --pairs." : "--method \(method) has no use for --pairs.")
    }
    for setting in settings where !setting.contains("=") {
      throw ValidationError("--set \(setting) is not name=value.")
    }
  }

  func run() throws {
    var judgement = Judgement()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let checkpoint = try lookup.open(model)
      let test = try testing.read()
      var source = RestructuringRequest.Source.nothing
      if let path = calibrating.statistics { source = .statistics(path) }
      if !calibrating.text.text.isEmpty { source = .text(try calibrating.text.read(for: checkpoint)) }
      var request = RestructuringRequest(
        method: method, goal: RestructuringRequest.Goal(parameters) ?? .share(1), source: source)
      if repair { request.repair = damp ?? LeastSquaresRepair.standardDamp }
      request.effectLimit = effectLimit
      if let pairs { request.pairs = try PromptPairs(pairs, for: checkpoint) }
      if let base { request.base = (base, try lookup.open(base)) }
      do throws(Problem) {
        request.parameters = try StructuralMethods.method(named: method).card.values(settings)
      } catch { throw Problems([error]) }
      let run = try running.options(work, lookup, default: .exact)
      let plan = try RestructuringPlan(
        request, of: model, checkpoint: checkpoint, run: run, writing: writing.options(work, lookup))
      let listener = style.listener()
      for problem in plan.warnings { listener.receive(.problem(problem)) }
      if self.plan { return print(style.json ? plan.json.text() : plan.summary) }
      if !style.quiet, !style.json { Machine.writeToStandardError(plan.summary + "\n") }
      var found = judgement
      defer { judgement = found }
      do throws(Problem) {
        let report = try RestructuringRun.execute(plan, listener: listener) { (changed) throws(Problem) in
          try test.compare(
            changed, named: writing.output, against: checkpoint, named: model, run: run, listener: listener,
            judgement: &found)
        }
        if style.json { print(report.json.text()) } else if !style.quiet { print(report.text) }
      } catch { throw Problems([error]) }
      if let problems = found.problems { throw problems }
    }
    if !judgement.passes { throw gateFailed }
  }
}
