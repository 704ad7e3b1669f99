import ArgumentParser
import EspalierBasics
import EspalierMerging
import EspalierReduction

struct Methods: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Lists the methods of merge, prune and factorize, or explains one.",
    discussion: """
      EXAMPLES
        espalier methods
        espalier methods ties
        espalier methods sparsegpt
        espalier methods --markdown > Docs/methods.md
        espalier methods --reductions --markdown > Docs/reductions.md
      """)

  @Argument(help: "Name of a method.")
  var name: String?

  @Flag(help: "Only methods of prune and factorize.")
  var reductions = false

  @Flag(help: "Print every method as a Markdown document: those of merge, or with --reductions the others.")
  var markdown = false

  func run() throws {
    if markdown {
      print(reductions ? ReductionReference.markdown : MethodReference.markdown)
      return
    }
    guard let name else {
      if !reductions { print("MERGE\n\(MethodReference.list)\n\nPRUNE AND FACTORIZE") }
      print(ReductionReference.list)
      return
    }
    if let method = MergeMethods.named(name) { return print(MethodReference.text(method)) }
    if let method = ReductionMethods.all.first(where: { $0.card.name == name }) {
      return print(ReductionReference.text(method))
    }
    if let method = ReductionMethods.blocks.first(where: { $0.card.name == name }) {
      return print(ReductionReference.text(ofBlocks: method))
    }
    let names =
      MergeMethods.all.map { $0.card.name } + ReductionMethods.all.map { $0.card.name }
      + ReductionMethods.blocks.map { $0.card.name }
    let near = Spelling.nearest(to: name, among: names)
    throw ValidationError("There is no method \(name)" + (near.map { "; did you mean \($0)?" } ?? "."))
  }
}
