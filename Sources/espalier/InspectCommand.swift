public import ArgumentParser
import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
public import EspalierEvaluation
import EspalierRecipes

extension Inspection.Detail: ExpressibleByArgument {}

struct Inspect: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows what is in a model: family, tensors, types, sizes, norms, spectra.",
    discussion: """
      Headers alone are read, which is instant, unless norms or spectra are asked for.

      EXAMPLES
        espalier inspect merged
        espalier inspect merged --detail tensors --norms
        espalier inspect base+adapter --spectra --json
      """)

  @Argument(help: "A model: a folder, a safetensors or GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(help: "How much to print: summary, layers or tensors.")
  var detail = Inspection.Detail.layers

  @Flag(help: "Read the weights: norms, extremes, zeros, NaN.")
  var norms = false

  @Flag(help: "Singular values of every matrix: largest, smallest, stable rank, rank of 90 % and 99 % of the energy.")
  var spectra = false

  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      let families = try lookup.families()
      let checkpoint = try opened()
      var inspection = Inspection(of: checkpoint, families: families)
      if norms || spectra {
        let options = work.measurement(spectra: spectra, listener: style.listener())
        do throws(Problem) { inspection = try inspection.measured(options) } catch { throw Problems([error]) }
      }
      let gguf = checkpoint as? GGUFCheckpoint
      let loss = PackedLoss(at: model)
      if style.json {
        var json = inspection.json
        if let gguf { json["gguf_version"] = .number(gguf.version) }
        if let loss { json["lossy"] = loss.json }
        print(json.text())
      } else {
        if let gguf {
          let count = gguf.metadata.count
          print("GGUF version \(gguf.version), \(count) metadata \(count == 1 ? "entry" : "entries")")
        }
        print(inspection.text(detail: detail))
        if let loss {
          if detail == .tensors { print(loss.table) }
          print(loss.summary ?? "")
        }
      }
    }
  }

  /// The model; of a GGUF file whose metadata do not say enough for its family, what is stored under its own names.
  private func opened() throws(Problems) -> any Checkpoint {
    do throws(Problems) { return try lookup.open(model) } catch {
      let locator = ModelLocator(recipeFolder: ".", models: lookup.models)
      guard error.all.allSatisfy({ $0.code == .architectureConfig }),
        let path = try? locator.locate(model, revision: nil, line: 0), GGUFFiles.isModel(path)
      else { throw error }
      let warnings = error.all.map { problem in
        var warning = problem
        warning.severity = .warning
        return warning
      }
      return try GGUFCheckpoint(unmappedAt: path, warnings: warnings)
    }
  }
}
