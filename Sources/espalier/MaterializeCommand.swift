import ArgumentParser
import EspalierBasics
import EspalierNumerics
import EspalierRecipes

struct Materialize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes a pruned or factorized model as a plain one, which loads anywhere.",
    discussion: """
      Sparse matrices and factors (Docs/reduced.md) become ordinary tensors with the same numbers, each rounded once to \
      the type it is stored in or to --dtype; what is plain already is copied byte for byte. The output appears whole or \
      not at all; what an interrupted run finished is kept in OUT.partial for --resume.

      EXAMPLES
        espalier materialize sparse -o plain
        espalier materialize factored -o plain --dtype f32
        espalier materialize sparse -o plain --dry-run
      """)

  @Argument(help: "A model: a folder, a safetensors file, or model+adapter.", completion: .directory)
  var model: String

  @Flag(help: "Write a model that has no reduced forms too.")
  var allowPlain = false

  @OptionGroup var options: ConvertingOptions

  func run() throws {
    try options.run(
      { (elementType, options) throws(Problems) in
        try Conversion.materialization(
          of: model, elementType: elementType, allowingPlain: allowPlain, options: options)
      },
      text: { outline, report in
        let forms = outline.reducedForms
        return (forms.isEmpty ? ["nothing was in a reduced form"] : forms).joined(separator: "\n") + "\n" + report.text
      },
      json: { outline, report in
        var json = report.json
        json["forms"] = outline.reducedFormsJSON
        return json
      })
  }
}
