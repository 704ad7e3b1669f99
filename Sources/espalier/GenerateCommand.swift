import ArgumentParser
import EspalierBasics
import EspalierLinearMaps
import EspalierNetworks
import EspalierRecipes
import EspalierTokenizers

struct Generate: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Continues a text, or answers it.",
    discussion: """
      Models with an encoder and a decoder, such as T5, read the prompt and write another text; others continue it. The
      most probable token is taken unless --temperature says otherwise. Text goes to standard output as it comes.

      EXAMPLES
        espalier generate model.gguf --prompt "The capital of France is" --max-tokens 16
        espalier generate model --chat --prompt "Why is the sky blue?" --timings
        espalier generate model --prompt-file story.txt --temperature 0.8 --top-p 0.95 --seed 7
      """)

  @Argument(help: "A model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(help: "The text to continue.")
  var prompt: String?

  @Option(help: "A file with the text to continue.", completion: .file())
  var promptFile: String?

  @Flag(help: "Put the prompt to the model as a user's message, by its chat template.")
  var chat = false

  @Option(help: "With --chat: a system message.")
  var system: String?

  @Flag(help: "Do not stop at tokens that end a text.")
  var ignoreEnd = false

  @Flag(help: "Say how fast it was.")
  var timings = false

  @OptionGroup var sampling: SamplingOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions
  @OptionGroup var style: OutputStyle

  func validate() throws {
    if (prompt == nil) == (promptFile == nil) { throw ValidationError("Give --prompt or --prompt-file.") }
    if system != nil, !chat { throw ValidationError("--system needs --chat.") }
  }

  func run() throws {
    try reportingProblems(json: style.json) { () throws(Problems) in
      let checkpoint = try lookup.open(model)
      let options = try running.options(work, lookup, default: .fast)
      do throws(Problem) {
        var model = try SpeakingModel(checkpoint, options: options)
        for warning in model.network.warnings { Machine.writeToStandardError(warning.description + "\n") }
        let ids = try promptIDs(model.vocabulary)
        let ends = ignoreEnd ? [] : model.vocabulary.endTokens
        let generator = sampling.generator(defaultTemperature: 0, endTokens: ends)
        model = try model.keeping(
          tokens: generator.tokens(afterPrompt: ids.count), of: checkpoint, options: options)
        if let warning = generator.warning(promptTokens: ids.count, contextLength: model.contextLength) {
          Machine.writeToStandardError(warning.description + "\n")
        }
        let loading = timings || style.json ? try model.warmUp() : 0
        let quiet = style.json
        let result = try model.generate(ids, generator: generator) { piece in
          if !quiet { Machine.writeToStandardOutput(piece) }
          return true
        }
        report(result, mode: options.mode.rawValue, loading: loading)
      } catch { throw Problems([error]) }
    }
  }

  private func promptIDs(_ text: ModelTokenizer) throws(Problem) -> [Int32] {
    var prompt = prompt ?? ""
    if let promptFile {
      guard let text = String(validating: try FileSystem.read(promptFile), as: UTF8.self) else {
        throw Problem(.networkInput, "the prompt is not valid UTF-8", file: promptFile)
      }
      prompt = text
    }
    var ids: [Int32]
    if chat {
      let messages = (system.map { [("system", $0)] } ?? []) + [("user", prompt)]
      ids = try text.ids(ofRenderedPrompt: try text.prompt(messages))
    } else {
      ids = try text.tokenizer.ids(prompt)
    }
    guard !ids.isEmpty else { throw Problem(.networkInput, "the prompt is empty") }
    return ids
  }

  private func report(_ result: TextGeneration, mode: String, loading: Double) {
    if style.json {
      print(
        JSON.object([
          ("text", .string(result.text)), ("tokens", .array(result.tokens.map { .number(Int($0)) })),
          ("ending", .string(result.ending.rawValue)), ("mode", .string(mode)),
          ("loading_seconds", .number(loading)), ("prompt_tokens", .number(result.promptTokens)),
          ("prompt_seconds", .number(result.promptSeconds)),
          ("decoding_seconds", .number(result.decodingSeconds)),
          ("prompt_tokens_per_second", .number(result.promptTokensPerSecond)),
          ("decoded_tokens_per_second", .number(result.decodedTokensPerSecond)),
        ]).text())
      return
    }
    print("")
    guard timings else { return }
    let prompt = "\(result.promptTokens) tokens read at \(Decimals.text(result.promptTokensPerSecond, 1)) a second"
    let decoding = "\(result.tokens.count) produced at \(Decimals.text(result.decodedTokensPerSecond, 1)) a second"
    let start = "weights there after \(Decimals.text(loading, 2)) s"
    Machine.writeToStandardError("\(start), \(prompt), \(decoding); \(mode) mode, ended by \(result.ending.rawValue)\n")
  }
}
