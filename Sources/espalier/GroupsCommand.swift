import ArgumentParser
import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierRestructuring

struct Groups: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Lists the axes of a model: what belongs together, and what may leave or move.",
    discussion: """
      Parameters that carry an axis are indexed by the same things along it, so whatever takes an entry out of one takes \
      it out of all. Only headers are read.

      EXAMPLES
        espalier groups model
        espalier groups model --parameters
        espalier groups model --json
      """)

  @Argument(help: "The model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Flag(help: "Name the parameters that carry each axis.")
  var parameters = false

  @OptionGroup var lookup: ModelLookup
  @OptionGroup var style: OutputStyle

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      let checkpoint = try lookup.open(model)
      let families = try lookup.families()
      do throws(Problem) {
        guard let config = checkpoint.config, let family = Architecture.recognise(config: config, among: families)
        else {
          throw Problem(
            .restructuring, "no family is known for the model, so its axes are not known either",
            remedy: "Describe it in a file for --architecture.", file: checkpoint.location)
        }
        let axes = AxisReport.all(of: checkpoint, described: try family.describe(config: config))
        print(style.json ? JSON.array(axes.map(\.json)).text() : table(axes))
      } catch { throw Problems([error]) }
    }
  }

  private func table(_ axes: [AxisReport]) -> String {
    var table = TextTable()
    table.add("axis", align: .left, axes.map(\.name))
    table.add("scope", align: .left, axes.map(\.scope.rawValue))
    table.add("size", axes.map { $0.sizes.map(String.init).joined(separator: ", ") })
    table.add("instances", axes.map { "\($0.instances)" })
    table.add("numbers an entry", axes.map { Self.text($0.numbersPerEntry) })
    table.add("may be permuted", axes.map { Self.words[$0.permutation] ?? "" })
    table.add("may leave", axes.map { $0.selection == .none ? "no" : $0.selection.rawValue })
    var lines = table.lines
    if parameters {
      for axis in axes { lines += ["", "\(axis.name):"] + axis.parameters.map { "  \($0)" } }
    }
    return lines.joined(separator: "\n")
  }

  private static let words: [Axis.Permutation: String] = [.none: "no", .free: "yes", .pairs: "in pairs"]

  private static func text(_ numbers: ClosedRange<Int>) -> String {
    numbers.count == 1 ? "\(numbers.lowerBound)" : "\(numbers.lowerBound) to \(numbers.upperBound)"
  }
}
