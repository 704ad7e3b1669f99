import ArgumentParser
import EspalierBasics
import EspalierEvaluation
import EspalierNumerics
import EspalierRecipes

struct Barrier: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures the loss along the straight line between two models, and the barrier between them.",
    discussion: """
      Where the loss hardly rises on the way, the two lie in one basin and their average is a model; where it does, \
      `espalier align` may help first.

      EXAMPLES
        espalier barrier a b --text book.txt
        espalier barrier a b-aligned --text book.txt --points 21 --svg path.svg
      """)

  @Argument(help: "The model where the line begins.", completion: .directory)
  var first: String

  @Argument(help: "The model where it ends.", completion: .directory)
  var second: String

  @Option(
    help: ArgumentHelp("Text to take the loss on, plain or JSON lines {\"text\"} (repeatable).", valueName: "file"),
    completion: .file())
  var text: [String] = []

  @Option(help: "Models that are measured, both ends among them.")
  var points = 11

  @Option(
    help: ArgumentHelp("Draw the losses into this file.", valueName: "file"), completion: .file(extensions: ["svg"]))
  var svg: String?

  @Option(help: "Tokens of a window (default: 512, or the models' context if that is shorter).")
  var window: Int?

  @Option(help: "At most this many windows of each text.")
  var limit: Int?

  @Option(help: "Seed of the bootstrap.")
  var seed: UInt64 = 0

  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    if text.isEmpty { throw ValidationError("Give something to measure on: --text.") }
    if !(2...1001).contains(points) { throw ValidationError("--points must be from 2 to 1001.") }
    if let window, window < 2 { throw ValidationError("--window must be at least 2.") }
    if let limit, limit < 1 { throw ValidationError("--limit must be at least 1.") }
  }

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      let (a, b) = (try lookup.open(first), try lookup.open(second))
      let length = window ?? min(512, [a.contextLength, b.contextLength].compactMap { $0 }.min() ?? 512)
      var evaluation = ModelEvaluation(
        data: try EvaluationData(texts: text), cut: TextProtocol(.windows(length: length), limit: limit),
        run: try running.options(work, lookup, default: .exact),
        listener: style.json || style.quiet ? QuietListener() : ProgressPrinter())
      evaluation.bootstrap = Bootstrap(seed: seed)
      do throws(Problem) {
        let paths = try evaluation.path(from: a, named: first, to: b, named: second, points: points)
        if let svg {
          let plot = PathPlot(
            paths, title: "\(FileSystem.lastComponent(of: first)) to \(FileSystem.lastComponent(of: second))")
          try FileSystem.write(Array(plot.svg.utf8), to: svg)
        }
        var report = EvaluationReport()
        for path in paths { report.add(path) }
        guard !style.json else { return print(report.json.text()) }
        print(report.text)
        for path in paths { print(table(path)) }
      } catch { throw Problems([error]) }
    }
  }

  private func table(_ path: LinearPath) -> String {
    func text(_ estimate: Estimate) -> String {
      let interval = estimate.interval.map { " (\(Decimals.text($0.lower, 4)) to \(Decimals.text($0.upper, 4)))" }
      return Decimals.text(estimate.value, 4) + (interval ?? "")
    }
    var table = TextTable()
    table.add("share of the second", path.points.map { Decimals.text($0.weight, 3) })
    table.add("loss, nats a token", path.points.map { text($0.loss) })
    table.add("above the line", path.points.map { text($0.rise) })
    return table.lines.joined(separator: "\n") + "\n"
  }
}
