import ArgumentParser

struct Quantize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Writes a model in fewer bits, as a GGUF file or a folder, and says tensor by tensor what that costs.",
    discussion: """
      Every matrix gets a type of the mix, as llama.cpp chooses them; --tensor-type chooses otherwise. With importance,
      errors count where activations are large. The file appears whole or not at all; manifest, report.json and
      REPORT.md lie in NAME.report beside it, and what an interrupted run finished waits in NAME.report.partial for
      --resume.

      With --method gptq the matrices of the file are rounded to the levels of their types by what reaches them in a text.

      With --method and no .gguf the output is a folder in the layouts of GPTQ, AWQ or compressed-tensors. Every matrix inside layers
      becomes codes; embeddings, norms, routers and heads stay. With text each block is shown what the quantized blocks
      before it make of it. report.json and REPORT.md lie in the folder.

      EXAMPLES
        espalier quantize model --type Q4_K_M -o model-Q4_K_M.gguf
        espalier quantize model --type Q8_0 --dry-run -o model-Q8_0.gguf
        espalier quantize model --type Q3_K_M --statistics statistics.safetensors -o small.gguf
        espalier quantize model --type Q4_K_S --tensor-type 'ffn_down=Q6_K' --tensor-type '^output=Q8_0' -o m.gguf
        espalier quantize model --type Q4_K_M --test novel.txt --max-kl 0.05 -o m.gguf
        espalier quantize model --method gptq --type Q3_K_M --text book.txt -o m.gguf
        espalier quantize model --method gptq --bits 4 --group 128 --text book.txt -o model-gptq
        espalier quantize model --method awq --statistics statistics.safetensors --test novel.txt -o model-awq
        espalier quantize model --method fp8 -o model-fp8
        espalier quantize model --method gptq --pattern 2:4 --statistics statistics.safetensors -o model-sparse-gptq
      """)

  @Argument(help: "The model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @OptionGroup var options: QuantizingOptions
  @OptionGroup(title: "Folders") var calibrated: CalibratedOptions

  func validate() throws { try calibrated.check(beside: options) }

  func run() throws { try calibrated.run(model, options, again: false) }
}

struct Requantize: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Quantizes a model again that is quantized already.",
    discussion: """
      What has the wanted type already is carried byte for byte, and so are codes of GPTQ, AWQ and compressed-tensors
      whose levels the type has; all else is decoded and encoded. Rounding twice loses more than rounding once: the report
      tells each tensor's error from what was given, which adds to the loss before.

      EXAMPLES
        espalier requantize model-Q8_0.gguf --type Q4_K_M -o model-Q4_K_M.gguf
        espalier requantize model-Q8_0.gguf --type F16 -o model-f16.gguf
        espalier requantize model-gptq --type Q4_0 -o model-Q4_0.gguf
        espalier requantize model-Q8_0.gguf --method gptq --bits 4 --text book.txt -o model-gptq
      """)

  @Argument(help: "The model: a GGUF file, or a folder with quantized weights.", completion: .directory)
  var model: String

  @OptionGroup var options: QuantizingOptions
  @OptionGroup(title: "Folders") var calibrated: CalibratedOptions

  func validate() throws { try calibrated.check(beside: options) }

  func run() throws { try calibrated.run(model, options, again: true) }
}
