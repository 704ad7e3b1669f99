import ArgumentParser
import EspalierBasics
import EspalierNumerics
import EspalierRecipes

struct Convert: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes a model as a safetensors folder, from GGUF or in another type.",
    discussion: """
      Names, layouts and config of the output are those of the model's Hugging Face folder. Without --dtype, floats keep
      their type and quantized weights become f16. The output appears whole or not at all; what an interrupted run
      finished is kept in OUT.partial for --resume.

      EXAMPLES
        espalier convert model.Q4_K_M.gguf -o model
        espalier convert model.gguf -o model --dtype bf16
        espalier convert base+adapter -o merged --dtype f32
      """)

  @Argument(help: "A model: a folder, a safetensors or GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @OptionGroup var options: ConvertingOptions

  func run() throws {
    try options.run(
      { (elementType, options) throws(Problems) in
        try Conversion.plan(of: model, elementType: elementType, options: options)
      }, text: { _, report in report.text }, json: { _, report in report.json })
  }
}
