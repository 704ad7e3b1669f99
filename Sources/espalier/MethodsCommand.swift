import ArgumentParser
import EspalierBasics
import EspalierMerging

struct Methods: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Lists the merge methods, or explains one.",
    discussion: """
      EXAMPLES
        espalier methods
        espalier methods ties
        espalier methods --markdown > Docs/methods.md
      """)

  @Argument(help: "Name of a method.")
  var name: String?

  @Flag(help: "Print every method as a Markdown document.")
  var markdown = false

  func run() throws {
    if markdown {
      print(MethodReference.markdown)
      return
    }
    guard let name else {
      print(MethodReference.list)
      return
    }
    guard let method = MergeMethods.named(name) else {
      let near = Spelling.nearest(to: name, among: MergeMethods.all.map { $0.card.name })
      throw ValidationError("There is no method \(name)" + (near.map { "; did you mean \($0)?" } ?? "."))
    }
    print(MethodReference.text(method))
  }
}
