import ArgumentParser
import EspalierBasics
import EspalierMerging
import EspalierReduction
import EspalierRestructuring

struct Methods: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Lists the methods of merge, prune, factorize and restructure, or explains one.",
    discussion: """
      EXAMPLES
        espalier methods
        espalier methods ties
        espalier methods sparsegpt
        espalier methods --markdown > Docs/methods.md
        espalier methods --reductions --markdown > Docs/reductions.md
        espalier methods --restructuring --markdown > Docs/restructurings.md
      """)

  @Argument(help: "Name of a method.")
  var name: String?

  @Flag(help: "Only methods of prune and factorize.")
  var reductions = false

  @Flag(help: "Only methods of restructure.")
  var restructuring = false

  @Flag(help: "Print every method as a Markdown document: those of merge, or those of the flag beside.")
  var markdown = false

  func validate() throws {
    if reductions, restructuring { throw ValidationError("Give --reductions or --restructuring, not both.") }
  }

  func run() throws {
    if markdown {
      print(
        restructuring
          ? StructuralReference.markdown : reductions ? ReductionReference.markdown : MethodReference.markdown)
      return
    }
    guard let name else {
      let lists = [
        (!reductions && !restructuring, "MERGE", MethodReference.list),
        (!restructuring, "PRUNE, FACTORIZE AND QUANTIZE", ReductionReference.list),
        (!reductions, "RESTRUCTURE", StructuralReference.list),
      ].filter(\.0)
      return print(lists.map { lists.count == 1 ? $0.2 : "\($0.1)\n\($0.2)" }.joined(separator: "\n\n"))
    }
    if let method = MergeMethods.named(name) { return print(MethodReference.text(method)) }
    if let method = ReductionMethods.all.first(where: { $0.card.name == name }) {
      return print(ReductionReference.text(method))
    }
    if let method = ReductionMethods.blocks.first(where: { $0.card.name == name }) {
      return print(ReductionReference.text(ofBlocks: method))
    }
    if let method = StructuralMethods.all.first(where: { $0.card.name == name }) {
      return print(StructuralReference.text(method))
    }
    let names =
      MergeMethods.all.map { $0.card.name } + ReductionMethods.all.map { $0.card.name }
      + ReductionMethods.blocks.map { $0.card.name } + StructuralMethods.all.map { $0.card.name }
    let near = Spelling.nearest(to: name, among: names)
    throw ValidationError("There is no method \(name)" + (near.map { "; did you mean \($0)?" } ?? "."))
  }
}
