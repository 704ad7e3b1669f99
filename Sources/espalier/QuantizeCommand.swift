import ArgumentParser

struct Quantize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes a model as a GGUF file in fewer bits, and says tensor by tensor what that costs.",
    discussion: """
      Every matrix gets a type of the mix, as llama.cpp chooses them; --tensor-type chooses otherwise. With importance,
      errors count where activations are large. The file appears whole or not at all; manifest, report.json and
      REPORT.md lie in NAME.report beside it, and what an interrupted run finished waits in NAME.report.partial for
      --resume.

      EXAMPLES
        espalier quantize model --type Q4_K_M -o model-Q4_K_M.gguf
        espalier quantize model --type Q8_0 --dry-run -o model-Q8_0.gguf
        espalier quantize model --type Q3_K_M --statistics statistics.safetensors -o small.gguf
        espalier quantize model --type Q4_K_S --tensor-type 'ffn_down=Q6_K' --tensor-type '^output=Q8_0' -o m.gguf
        espalier quantize model --type Q4_K_M --test novel.txt --max-kl 0.05 -o m.gguf
      """)

  @Argument(help: "The model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @OptionGroup var options: QuantizingOptions

  func run() throws { try options.run(model, again: false) }
}

struct Requantize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Quantizes a model again that is quantized already.",
    discussion: """
      What has the wanted type already is carried byte for byte; all else is decoded and encoded. Rounding twice loses
      more than rounding once: the report tells each tensor's error from what was given, which adds to the loss before.

      EXAMPLES
        espalier requantize model-Q8_0.gguf --type Q4_K_M -o model-Q4_K_M.gguf
        espalier requantize model-Q8_0.gguf --type F16 -o model-f16.gguf
      """)

  @Argument(help: "The model: a GGUF file, or a folder with quantized weights.", completion: .directory)
  var model: String

  @OptionGroup var options: QuantizingOptions

  func run() throws { try options.run(model, again: true) }
}
