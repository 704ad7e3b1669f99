import ArgumentParser
import EspalierBasics
import EspalierRecipes
import EspalierReduction

struct Factorize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Replaces matrices by products of smaller ones, and says matrix by matrix what that costs.",
    discussion: """
      Every matrix inside layers becomes two factors (or three); embeddings, norms, routers and heads stay. The output \
      holds the factors, which Espalier runs; `espalier materialize` or --store dense makes an ordinary model of them. \
      report.json and REPORT.md lie beside it.

      EXAMPLES
        espalier factorize model --parameters 0.5 -o low
        espalier factorize model --method whitened-svd --parameters 0.6 --text book.txt --test novel.txt -o low
        espalier factorize model --method asvd --rank 64 --statistics statistics.safetensors --store dense -o low
        espalier factorize model --parameters 0.7 --allocate --text book.txt -o low
        espalier factorize model --max-error 0.1 --statistics statistics.safetensors -o low
        espalier factorize model --method lorap --parameters 0.8 --text book.txt -o low
        espalier factorize model --method ffsplit --parameters 0.8 --set heavy=0.25 --text book.txt -o low
        espalier factorize model --rank 128 --only 'mlp\\.' -o low
      """)

  @Argument(help: "The model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(
    help:
      "svd, asvd, awsvd, whitened-svd, feature-pca, cur, interpolative, lorap or ffsplit (default: whitened-svd with text or statistics, else svd)."
  )
  var method: String?

  @OptionGroup(title: "Budget") var budget: FactorBudget

  @Option(
    help:
      "factors: what is left; dense: products multiplied out, in ordinary tensors (default: factors)."
  )
  var store: Store?

  @OptionGroup var options: ReducingOptions

  enum Store: String, ExpressibleByArgument, CaseIterable { case factors, dense }

  func validate() throws {
    try ReducingOptions.validate(method, makesFactors: true)
    if let blocks, !budget.isShareAlone {
      throw ValidationError("--method \(blocks.card.name) takes --parameters, and deals it out itself.")
    }
  }

  /// The method, if it takes whole blocks.
  private var blocks: (any BlockMethod.Type)? { ReductionMethods.blocks.first { $0.card.name == method } }

  func run() throws {
    try options.run(
      model, method: method, makesFactors: true, budget.wish, storage: store == .dense ? .dense : .reduced)
  }
}
