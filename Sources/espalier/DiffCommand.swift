import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation

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
