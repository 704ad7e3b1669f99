import ArgumentParser
import EspalierBasics
import EspalierEvaluation
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import EspalierRecipes

struct Barrier: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures the loss on the straight line between two models, and how high it rises.",
    discussion: """
      The barrier is the highest rise of the loss above the line between the losses of the two models, in nats a token. \
      Models that can be averaged have none. Every point is measured on the same windows, which are drawn together for \
      the intervals; nothing is written but the plot.

      EXAMPLES
        espalier barrier a b --text book.txt
        espalier barrier a b-aligned --text book.txt --text code.txt --points 21 --plot barrier.svg
        espalier barrier a b --text book.txt --limit 32 --max-barrier 0.1
      """)

  @Argument(help: "Where the path begins.", completion: .directory)
  var first: String

  @Argument(help: "Where it ends: a model with the same parameters.", completion: .directory)
  var second: String

  @Option(help: "Points of the path, its ends among them.")
  var points = 11

  @Option(
    help: ArgumentHelp("Draw the path as SVG, with its intervals.", valueName: "file"),
    completion: .file(extensions: ["svg"]))
  var plot: String?

  @Option(help: ArgumentHelp("Gate: the barrier on every text at most.", valueName: "nats"))
  var maxBarrier: Double?

  @Flag(help: "The whole 95 % interval must keep the gate, not only the figure.")
  var strict = false

  @OptionGroup var texts: TextMeasuringOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    if texts.text.isEmpty { throw ValidationError("Give --text to measure the loss on.") }
    if !(3...1001).contains(points) { throw ValidationError("--points must be from 3 to 1001.") }
    if let maxBarrier, !(maxBarrier >= 0 && maxBarrier.isFinite) {
      throw ValidationError("--max-barrier must be a number from 0.")
    }
    if let plot, !FileSystem.isFolder(FileSystem.parent(of: plot)) {
      throw ValidationError("--plot \(plot): there is no such folder.")
    }
    if strict, maxBarrier == nil { throw ValidationError("--strict is of the gate: give --max-barrier.") }
  }

  func run() throws {
    var passes = true
    try reportingProblems(json: style.json) { () throws(Problems) in
      let data = try EvaluationData(texts: texts.text)
      let (one, other) = (try lookup.open(first), try lookup.open(second))
      let context = [one, other].compactMap(\.contextLength).min()
      var barrier = try BarrierRun(
        from: one, named: first, to: other, named: second, on: data, cut: texts.textProtocol(context: context),
        points: points, run: try running.options(work, lookup, default: .exact),
        listener: style.json || style.quiet ? QuietListener() : ProgressPrinter())
      barrier.bootstrap = Bootstrap(seed: texts.seed)
      do throws(Problem) {
        let paths = try barrier.execute()
        if let plot { try FileSystem.write(Array(PathPlot(paths, title: title).svg.utf8), to: plot) }
        var report = EvaluationReport()
        for path in paths { report.add(path) }
        let failing = paths.filter { path in maxBarrier.map { !path.keeps($0, strict: strict) } ?? false }
        let verdicts = failing.map { "\nmax-barrier \(maxBarrier ?? 0) fails on \($0.header.data)" }
        var json = report.json
        json["max_barrier"] = maxBarrier.map { .number($0) } ?? .null
        json["passes"] = .bool(failing.isEmpty)
        style.show(
          ([report.text] + paths.map { $0.pointsText + "\n" } + verdicts).joined(separator: "\n"), json: json)
        passes = failing.isEmpty
      } catch { throw Problems([error]) }
    }
    if !passes { throw gateFailed }
  }

  private var title: String {
    "\(FileSystem.lastComponent(of: first)) to \(FileSystem.lastComponent(of: second))"
  }
}
