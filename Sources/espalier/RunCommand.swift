import ArgumentParser
import EspalierBasics
import EspalierLinearMaps
import EspalierRecipes

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Carries out a recipe of several steps: merge, restructure, prune, factorize, quantize, evaluate.",
    discussion: """
      Each step takes the model that the one before it made. All steps are checked before the first is done. Models on \
      the way lie in OUT.stages; the last becomes the output when every gate has held, with report.json and REPORT.md of \
      all steps. A gate that does not hold makes the exit code 3 and leaves the stages for --resume. Docs/recipes.md has \
      the grammar.

      EXAMPLES
        espalier run steps.yml -o small
        espalier run steps.yml -o small --plan
        espalier run steps.yml -o small --memory 2G --resume
        espalier run steps.yml -o small --force --json
      """)

  @Argument(help: "The recipe, a YAML file with steps.", completion: .file(extensions: ["yml", "yaml"]))
  var recipe: String

  @Flag(help: "Say what would be done, touch nothing.")
  var plan = false

  @OptionGroup var writing: WritingOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    guard FileSystem.isFile(recipe) else { throw ValidationError("There is no recipe \(recipe).") }
  }

  func run() throws {
    var passes = true
    try reportingProblems(json: style.json) { () throws(Problems) in
      let listener = style.listener()
      let steps = try StepsPlan(
        recipeAt: recipe, options: writing.options(work, lookup),
        run: try running.options(work, lookup, default: .exact), listener: listener)
      for problem in steps.warnings { listener.receive(.problem(problem)) }
      guard !plan else { return print(style.json ? steps.json.text() : steps.text) }
      if !style.quiet, !style.json { Machine.writeToStandardError(steps.summary + "\n") }
      let report = try StepsRun.execute(steps, listener: listener)
      passes = report.passes
      if style.json { print(report.json.text()) } else if !style.quiet { print(report.text) }
    }
    if !passes { throw gateFailed }
  }
}
