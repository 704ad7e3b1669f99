import ArgumentParser
import EspalierArchitectures
import EspalierBasics
import EspalierRecipes

struct Patch: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes a delta into a model's files, and takes it out again to the last bit.",
    discussion: """
      EXAMPLES
        espalier patch apply model d.delta.safetensors --scale 0.5 -o patched
        espalier patch remove patched -o model-again
      """, subcommands: [PatchApply.self, PatchRemove.self])
}

struct PatchApply: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "apply", abstract: "Writes a patched copy of a model, with a record that undoes it.",
    discussion: """
      Weight files keep their headers, order and padding. The record (patches/NNNN.safetensors in the model's folder, \
      MODEL.patches beside a single file) has the bits that were there. Further patches of the same base can follow.

      EXAMPLES
        espalier patch apply model d.delta.safetensors -o patched
        espalier patch apply patched other.delta.safetensors --scale -0.3 -o twice
      """)

  @Argument(help: "The model: a folder of safetensors files, or one file.", completion: .directory)
  var model: String

  @Argument(help: "The delta.", completion: .file(extensions: ["safetensors"]))
  var delta: String

  @Option(help: "What the change is multiplied by.")
  var scale = 1.0

  @OptionGroup var place: PlaceOptions

  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    if !scale.isFinite { throw ValidationError("--scale must be a number.") }
  }

  func run() throws {
    let listener = style.listener()
    try reportingProblems(json: style.json) { () throws(Problems) in
      var options = PatchOptions(output: place.path)
      (options.force, options.threads, options.models) = (place.force, work.threadCount, lookup.models)
      let patch = try PatchApplication(
        of: model, delta: delta, scale: scale, options: options, families: try lookup.families())
      for problem in patch.warnings { listener.receive(.problem(problem)) }
      do throws(Problem) {
        let report = try patch.run(listener: listener)
        style.show(report.text, json: report.json)
      } catch { throw Problems([error]) }
    }
  }
}

struct PatchRemove: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "remove", abstract: "Writes the model from before its last patch.",
    discussion: """
      Files are those from before, byte for byte; that is checked by their digests. Of several patches the last one is \
      removed; repeat for those before it.

      EXAMPLES
        espalier patch remove patched -o model
      """)

  @Argument(help: "A patched model.", completion: .directory)
  var model: String

  @OptionGroup var place: PlaceOptions

  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      var options = PatchOptions(output: place.path)
      (options.force, options.threads) = (place.force, work.threadCount)
      let removal = try PatchRemoval(of: model, options: options)
      do throws(Problem) {
        let report = try removal.run()
        style.show(report.text, json: report.json)
      } catch { throw Problems([error]) }
    }
  }
}
