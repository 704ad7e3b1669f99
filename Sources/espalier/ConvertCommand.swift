import ArgumentParser
import EspalierBasics
import EspalierNumerics
import EspalierRecipes

struct Convert: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes a model as a safetensors folder, from GGUF or in another type.",
    discussion: """
      Names, layouts and config of the output are those of the model's Hugging Face folder. Without --dtype, floats keep
      their type and quantized weights become f16. The output appears whole or not at all; what an interrupted run
      finished is kept in OUT.partial for --resume.

      EXAMPLES
        espalier convert model.Q4_K_M.gguf -o model
        espalier convert model.gguf -o model --dtype bf16
        espalier convert base+adapter -o merged --dtype f32
      """)

  @Argument(help: "A model: a folder, a safetensors or GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(help: "Type of the floats: f32, f16 or bf16 (default: as they are).")
  var dtype: String?

  @Flag(help: "Print what would be done, and stop.")
  var dryRun = false

  @OptionGroup var writing: WritingOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  private var elementType: ElementType? { dtype.flatMap { ElementType(rawValue: $0) } }

  func validate() throws {
    if let dtype, !Conversion.elementTypes.contains(where: { $0.rawValue == dtype }) {
      throw ValidationError("--dtype \(dtype) is not one of f32, f16, bf16.")
    }
  }

  func run() throws {
    let listener = style.listener()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let plan = try Conversion.plan(of: model, elementType: elementType, options: writing.options(work, lookup))
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
          print(report.json.text())
        } else if !style.quiet {
          print(report.text)
        }
      } catch { throw Problems([error]) }
    }
  }
}
