import ArgumentParser
import EspalierBasics
import EspalierNumerics
import EspalierRecipes

/// What verbs take that write a model's tensors in another form.
struct ConvertingOptions: ParsableArguments {
  @Option(help: "Type of the floats: f32, f16 or bf16 (default: as they are).")
  var dtype: String?

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

  /// Plans, and carries out unless only the plan is wanted.
  ///
  /// - Parameters:
  ///   - text, json: what is told at the end.
  func run(
    _ plan: (ElementType?, MergeOptions) throws(Problems) -> MergePlan,
    text: (ConversionOutline, MergeReport) -> String, json: (ConversionOutline, MergeReport) -> JSON
  ) throws {
    let listener = style.listener()
    try reportingProblems(json: style.json) { () throws(Problems) in
      let plan = try plan(dtype.flatMap { ElementType(rawValue: $0) }, writing.options(work, lookup))
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
          print(json(outline, report).text())
        } else if !style.quiet {
          print(text(outline, report))
        }
      } catch { throw Problems([error]) }
    }
  }
}
