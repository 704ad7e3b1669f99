import ArgumentParser
import EspalierBasics
import EspalierEvaluation
import EspalierRecipes

struct Compare: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Says how far a model is from another, token by token and answer by answer.",
    discussion: """
      Both models run side by side: KL and Jensen-Shannon divergence of the next token, most probable tokens that agree,
      change of perplexity, and the same items answered by both (McNemar's test, bootstrap of the difference). A gate
      that does not hold makes the exit code 3.

      EXAMPLES
        espalier compare small.gguf --against model --text book.txt
        espalier compare merged --against base --text book.txt --max-kl 0.05 --max-perplexity-rise 2%
        espalier compare merged --against expert --answers sums.jsonl
        espalier compare tuned-encoder --against encoder --sentences lines.txt
      """)

  @Argument(help: "The model in question.", completion: .directory)
  var candidate: String

  @Option(help: ArgumentHelp("The model it is compared with.", valueName: "model"), completion: .directory)
  var against: String

  @OptionGroup var arguments: EvaluationArguments

  func run() throws {
    var passes = true
    try reportingProblems(json: arguments.style.json) { () throws(Problems) in
      let (gates, data) = (try arguments.gates.gates, try arguments.measuring.data)
      let (first, second) = (try arguments.lookup.open(candidate), try arguments.lookup.open(against))
      let evaluation = try arguments.evaluation(on: data, of: [first, second])
      var report = EvaluationReport()
      do throws(Problem) {
        report = try evaluation.compare(first, named: candidate, against: second, named: against)
      } catch { throw Problems([error]) }
      try report.judge(gates)
      print(arguments.style.json ? report.json.text() : report.text)
      passes = report.passes
    }
    if !passes { throw gateFailed }
  }
}
