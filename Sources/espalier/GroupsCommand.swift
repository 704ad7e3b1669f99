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

      Of a model that no family describes, --graph says how its maps are joined (Docs/restructuring.md); what has to leave \
      together is found by following the channels.

      EXAMPLES
        espalier groups model
        espalier groups weights.safetensors --graph graph.json
        espalier groups model --parameters
        espalier groups model --json
      """)

  @Argument(help: "The model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Flag(help: "Name the parameters that carry each axis.")
  var parameters = false

  @Option(
    help: ArgumentHelp("The graph of a model that no family describes.", valueName: "file"), completion: .file())
  var graph: String?

  @OptionGroup var lookup: ModelLookup
  @OptionGroup var style: OutputStyle

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      let checkpoint = try lookup.open(model)
      if let graph { return try trace(graph, in: checkpoint) }
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

  private func trace(_ file: String, in checkpoint: any Checkpoint) throws(Problems) {
    let json: JSON
    do throws(Problem) { json = try JSON(parsing: try FileSystem.read(file)) } catch {
      throw Problems([error.at(file: file)])
    }
    let groups = try CoupledGroup.traced(try CouplingGraph(parsing: json), in: checkpoint)
    print(style.json ? JSON.array(groups.map(\.json)).text() : Self.table(groups, in: checkpoint))
  }

  private static func table(_ groups: [CoupledGroup], in checkpoint: any Checkpoint) -> String {
    var table = TextTable()
    table.add("group", groups.indices.map { "\($0 + 1)" })
    table.add("units", groups.map { "\($0.units.count)" })
    table.add("numbers a unit", groups.map { "\($0.numbersPerUnit(in: checkpoint))" })
    table.add("may leave", align: .left, groups.map { $0.isFixed ? "no" : "yes" })
    var lines = table.lines
    for (number, group) in groups.enumerated() {
      lines += ["", "\(number + 1):"]
      for (place, entries) in group.dimensions {
        lines.append(
          "  \(place.parameter), dimension \(place.dimension)" + (entries > 1 ? ", \(entries) entries a unit" : ""))
      }
    }
    return lines.joined(separator: "\n")
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
