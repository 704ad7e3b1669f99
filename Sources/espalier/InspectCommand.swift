public import ArgumentParser
import EspalierBasics
public import EspalierEvaluation

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
