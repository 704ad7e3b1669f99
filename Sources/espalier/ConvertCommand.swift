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
        espalier convert uneven -o plain --pad
      """)

  @Argument(help: "A model: a folder, a safetensors or GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Flag(help: "Make the layers of an uneven model alike, with zeros: a plain model with the same logits.")
  var pad = false

  @OptionGroup var options: ConvertingOptions

  func run() throws {
    try options.run(
      { (elementType, options) throws(Problems) in
        try Conversion.plan(of: model, elementType: elementType, options: options, padding: pad)
      }, text: { _, report in report.text }, json: { _, report in report.json })
  }
}
