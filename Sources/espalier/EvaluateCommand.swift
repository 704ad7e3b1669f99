import ArgumentParser
import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierRecipes

struct Evaluate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures a model: perplexity, multiple choice, answers, classes; with intervals.",
    discussion: """
      Every figure comes with its protocol, its counts and a 95 % interval (bootstrap over documents, windows or
      items). In exact mode, the default, figures do not depend on threads, batch or memory. A gate that does not hold
      makes the exit code 3.

      EXAMPLES
        espalier evaluate model --text book.txt
        espalier evaluate model.gguf --text book.txt --protocol llama.cpp --window 512
        espalier evaluate model --choices cloze.jsonl --answers sums.jsonl --json
        espalier evaluate model --text book.txt --max-perplexity 12
        espalier evaluate base tuned merged --table --text book.txt --text code.txt
      """)

  @Argument(help: "Models: folders, GGUF files, or model+adapter.", completion: .directory)
  var models: [String]

  @Flag(help: "Print one table, a line a model, in place of a report for each.")
  var table = false

  @OptionGroup var arguments: EvaluationArguments

  func run() throws {
    var passes = true
    try reportingProblems(json: arguments.style.json) { () throws(Problems) in
      let (gates, data) = (try arguments.gates.gates, try arguments.measuring.data)
      // All are opened before the first is measured, so that a wrong name is found at once.
      var checkpoints: [(name: String, checkpoint: any Checkpoint)] = []
      for model in models { checkpoints.append((model, try arguments.lookup.open(model))) }
      let evaluation = try arguments.evaluation(on: data, of: checkpoints.map(\.checkpoint))
      var lines = EvaluationTable()
      for (name, checkpoint) in checkpoints {
        var report = EvaluationReport()
        do throws(Problem) { report = try evaluation.evaluate(checkpoint, name: name) } catch {
          throw Problems([error])
        }
        try report.judge(gates)
        passes = passes && report.passes
        if arguments.style.json { print(report.json.text()) } else if !table { print(report.text) }
        lines.add(report, of: FileSystem.lastComponent(of: name))
      }
      if table, !arguments.style.json { print(lines.text) }
    }
    if !passes { throw gateFailed }
  }
}
