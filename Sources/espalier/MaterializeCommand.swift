import ArgumentParser
import EspalierBasics
import EspalierNumerics
import EspalierRecipes

struct Materialize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes a pruned or factorized model as a plain one, which loads anywhere.",
    discussion: """
      Sparse matrices and factors (Docs/reduced.md) become ordinary tensors with the same numbers, each rounded once to \
      the type it is stored in or to --dtype; what is plain already is copied byte for byte. The output appears whole or \
      not at all; what an interrupted run finished is kept in OUT.partial for --resume.

      EXAMPLES
        espalier materialize sparse -o plain
        espalier materialize factored -o plain --dtype f32
        espalier materialize sparse -o plain --dry-run
      """)

  @Argument(help: "A model: a folder, a safetensors file, or model+adapter.", completion: .directory)
  var model: String

  @Option(help: "Type of the floats: f32, f16 or bf16 (default: as they are).")
  var dtype: String?

  @Flag(help: "Write a model that has no reduced forms too.")
  var allowPlain = false

  @Flag(help: "Print what would be done, and stop.")
  var dryRun = false

  @OptionGroup var writing: WritingOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    if let dtype, !Conversion.elementTypes.contains(where: { $0.rawValue == dtype }) {
      throw ValidationError("--dtype \(dtype) is not one of f32, f16, bf16.")
    }
  }

  func run() throws {
    let listener = style.listener()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let plan = try Conversion.materialization(
        of: model, elementType: dtype.flatMap { ElementType(rawValue: $0) }, allowingPlain: allowPlain,
        options: writing.options(work, lookup))
      let outline = ConversionOutline(plan)
      for problem in plan.warnings { listener.receive(.problem(problem)) }
      if dryRun {
        print(style.json ? outline.json.text() : outline.text)
        return
      }
      if !style.quiet, !style.json { Machine.writeToStandardError(outline.summary + "\n") }
      do throws(Problem) {
        let report = try Conversion.run(plan, listener: listener)
        if style.json {
          var json = report.json
          json["forms"] = outline.reducedFormsJSON
          print(json.text())
        } else if !style.quiet {
          let forms = outline.reducedForms
          print((forms.isEmpty ? ["nothing was in a reduced form"] : forms).joined(separator: "\n"))
          print(report.text)
        }
      } catch { throw Problems([error]) }
    }
  }
}
