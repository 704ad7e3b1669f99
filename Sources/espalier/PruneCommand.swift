import ArgumentParser
import EspalierBasics
import EspalierRecipes
import EspalierReduction

struct Prune: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Removes weights, and says matrix by matrix what that costs.",
    discussion: """
      Every matrix inside layers loses its share of weights; embeddings, norms, routers and heads stay. With text, each \
      block is shown what the reduced blocks before it make of it. The output is an ordinary model with zeros in it; \
      with --store sparse it holds only what is left, which Espalier runs. report.json and REPORT.md lie beside it.

      EXAMPLES
        espalier prune model --sparsity 0.5 -o half
        espalier prune model --method wanda --sparsity 0.5 --text book.txt -o half
        espalier prune model --method sparsegpt --pattern 2:4 --statistics statistics.safetensors -o half
        espalier prune model --method sparsegpt --sparsity 0.6 --text book.txt --test novel.txt --store sparse -o small
        espalier prune model --method wanda --size 200MB --store sparse --allocate --text book.txt -o small
        espalier prune model --sparsity 0.5 --keep 'layers\\.(0|1)\\.' --keep down_proj -o half
      """)

  @Argument(help: "The model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(
    help:
      "magnitude, wanda, sparsegpt, obc or net_trim (default: sparsegpt with text or statistics, else magnitude).")
  var method: String?

  @OptionGroup(title: "Budget") var budget: PruningBudget

  @Option(help: "dense: zeros in ordinary tensors; sparse: a bitmap and the numbers that are left.")
  var store = Store.dense

  @OptionGroup var options: ReducingOptions

  enum Store: String, ExpressibleByArgument, CaseIterable { case dense, sparse }

  func validate() throws {
    try ReducingOptions.validate(method, makesFactors: false)
  }

  func run() throws {
    try options.run(
      model, method: method, makesFactors: false, budget.wish, storage: store == .dense ? .dense : .reduced)
  }
}
