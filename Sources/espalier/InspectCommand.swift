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
      var inspection = Inspection(of: try lookup.open(model), families: try lookup.families())
      if norms || spectra {
        let options = work.measurement(spectra: spectra, listener: style.listener())
        do throws(Problem) { inspection = try inspection.measured(options) } catch { throw Problems([error]) }
      }
      print(style.json ? inspection.json.text() : inspection.text(detail: detail))
    }
  }
}

struct Diff: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows what changed from one model to another, tensor by tensor.",
    discussion: """
      Relative change, cosine, sparsity of the update, rank of the change; with --base, where two fine-tunes of one base
      disagree in sign. Enough to see what a fine-tune touched.

      EXAMPLES
        espalier diff base fine-tune
        espalier diff base fine-tune --all --spectra
        espalier diff expert-1 expert-2 --base base
      """)

  @Argument(help: "The model to compare with.", completion: .directory)
  var from: String

  @Argument(help: "The model that changed.", completion: .directory)
  var to: String

  @Option(help: "Their common base: compares their changes from it.", completion: .directory)
  var base: String?

  @Flag(help: "Print every tensor, not only the most changed.")
  var all = false

  @Flag(help: "Singular values of the changes: stable rank, rank of 90 % and 99 % of the energy.")
  var spectra = false

  @Flag(help: "Draw bars with ASCII characters.")
  var ascii = false

  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      let models = (try lookup.open(from), try lookup.open(to))
      var origin: (any Checkpoint)?
      if let base { origin = try lookup.open(base) }
      let families = try lookup.families()
      do throws(Problem) {
        let difference = try ModelDifference(
          from: models.0, to: models.1, base: origin, families: families,
          options: work.measurement(spectra: spectra, listener: style.listener()))
        print(style.json ? difference.json.text() : difference.text(all: all, glyphs: ascii ? .ascii : .unicode))
      } catch { throw Problems([error]) }
    }
  }
}

/// Where models and families are looked up.
struct ModelLookup: ParsableArguments {
  @Option(
    help: ArgumentHelp("A folder in which names of models are looked up.", valueName: "dir"), completion: .directory)
  var models: String?

  @Option(
    help: ArgumentHelp("A file that describes a family of models (repeatable).", valueName: "file"),
    completion: .file(extensions: ["json"]))
  var architecture: [String] = []

  func open(_ name: String) throws(Problems) -> any Checkpoint {
    try ModelLocator(recipeFolder: ".", models: models).open(
      ModelReference(parsing: name, line: 0), families: families())
  }

  func families() throws(Problems) -> [Architecture] { try Architecture.families(with: architecture) }
}

extension WorkOptions {
  func measurement(spectra: Bool, listener: any ProgressListener) -> MeasurementOptions {
    MeasurementOptions(spectra: spectra, threads: threadCount, memory: memoryBytes, listener: listener)
  }
}

/// Runs `body` and turns what it finds wrong into the command's failure.
func reportingProblems(json: Bool, _ body: () throws(Problems) -> Void) throws {
  do throws(Problems) { try body() } catch { throw Failure(error.all, json: json) }
}
