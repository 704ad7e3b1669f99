import ArgumentParser
import EspalierBasics
import EspalierLinearMaps
import EspalierNetworks
import EspalierRecipes

struct Chat: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "chat",
    abstract: "Talks with a model.",
    discussion: """
      Type a message and press return; an empty line or the end of input ends the chat, /reset begins anew.

      EXAMPLES
        espalier chat model.gguf
        espalier chat model --system "Answer in one sentence." --temperature 0
      """)

  @Argument(help: "A model: a folder, a GGUF file, or model+adapter.", completion: .directory)
  var model: String

  @Option(help: "A system message.")
  var system: String?

  @OptionGroup var sampling: SamplingOptions
  @OptionGroup var running: RunningOptions
  @OptionGroup var lookup: ModelLookup
  @OptionGroup var work: WorkOptions

  func run() throws {
    try reportingProblems(json: false) { () throws(Problems) in
      let checkpoint = try lookup.open(model)
      let options = try running.options(work, lookup, default: .fast)
      do throws(Problem) {
        let text = try TextModel(checkpoint, options: options)
        for warning in text.model.network.warnings { Machine.writeToStandardError(warning.description + "\n") }
        var conversation = Conversation(text, options: options, system: system)
        // Fails now if the model has no chat template, not after the first message was typed.
        _ = try text.vocabulary.prompt([("user", "")])
        try converse(&conversation, sampling.generator(defaultTemperature: 0.7, endTokens: text.endTokens))
      } catch { throw Problems([error]) }
    }
  }

  private func converse(_ conversation: inout Conversation, _ generator: Generator) throws(Problem) {
    while let line = ask() {
      if line == "/reset" {
        conversation.reset()
        continue
      }
      do throws(Problem) {
        let answer = try conversation.answer(line, generator) { piece in
          Machine.writeToStandardOutput(piece)
          return true
        }
        Machine.writeToStandardOutput(answer.ending == .length ? " [...]\n" : "\n")
      } catch {
        // What the template or the context refuses does not end the chat.
        Machine.writeToStandardError(error.description + "\n")
      }
    }
  }

  private func ask() -> String? {
    Machine.writeToStandardError("> ")
    guard let line = readLine(), !line.isEmpty else { return nil }
    return line
  }
}

/// What was said so far, and the session that has read it.
struct Conversation {
  private let text: TextModel
  private let options: RunOptions
  private let session: Session
  private let system: String?
  private var messages: [(role: String, content: String)] = []
  /// Whether it was said that the conversation outgrows the model.
  private var hasWarned = false

  init(_ text: TextModel, options: RunOptions, system: String?) {
    self.text = text
    self.options = options
    self.system = system
    session = Session(text.model)
    reset()
  }

  mutating func reset() {
    messages = system.map { [("system", $0)] } ?? []
    session.reset()
  }

  /// Puts a message and gives the answer; neither is kept if that fails.
  mutating func answer(
    _ message: String, _ generator: Generator, receive: @escaping (String) -> Bool
  ) throws(Problem) -> TextGeneration {
    var extended = messages + [("user", message)]
    let ids = try text.vocabulary.ids(ofRenderedPrompt: try text.vocabulary.prompt(extended))
    // The session has read the beginning, unless the template writes earlier answers in another way.
    if session.tokens.count >= ids.count || !ids.starts(with: session.tokens) { session.reset() }
    try options.check(text.model.network, keeping: generator.tokens(afterPrompt: ids.count))
    let warning = generator.warning(promptTokens: ids.count, contextLength: text.model.contextLength)
    if let warning, !hasWarned {
      hasWarned = true
      Machine.writeToStandardError(warning.description + "\n")
    }
    let answer = try text.generate(
      Array(ids[session.tokens.count...]), in: session, generator: generator, receive: receive)
    extended.append(("assistant", answer.text))
    messages = extended
    return answer
  }
}
