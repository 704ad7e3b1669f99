public import EspalierBasics

/// A chat template: a Jinja program that turns a conversation into the text a model was trained on.
///
/// Read once, rendered often. What a template sees, and how Jinja is set up, is as in transformers'
/// `apply_chat_template`, so that the texts are the same.
public struct ChatTemplate: Sendable {
  private let source: Jinja.Source
  private let statements: [Jinja.Statement]

  /// Reads a template.
  ///
  /// - Throws: ``Problem/Code/chatTemplateSyntax``, ``Problem/Code/chatTemplateUnsupported`` for a tag that is not
  ///   implemented, or ``Problem/Code/chatTemplateLimit`` if it nests too deep, each with line and column.
  public init(source text: String) throws(Problem) {
    source = Jinja.Source(text)
    statements = try Jinja.Parser.statements(of: source)
  }

  /// The text of a conversation.
  ///
  /// - Parameters:
  ///   - messages: an array of objects with `role`, `content` and whatever else the template knows (`tool_calls` ...).
  ///     Members that are null are left out; `reasoning_content`, `thinking` and `reasoning` stand for one another.
  ///   - tools: an array of JSON schemas of functions, or nil.
  ///   - documents: an array of objects for retrieval, or nil.
  ///   - addGenerationPrompt: whether the text ends where the assistant is to begin.
  ///   - specialTokens: by name, as in `bos_token`; see ``TokenizerFiles/specialTokenVariables``.
  ///   - options: further variables of the template, such as `enable_thinking`; they win over special tokens.
  ///   - now: seconds since 1970 for templates that print the date; nil is the present.
  /// - Throws: ``Problem/Code/chatTemplateRefused`` with the template's own words, ``Problem/Code/chatTemplateFailed``,
  ///   ``Problem/Code/chatTemplateUnsupported`` or ``Problem/Code/chatTemplateLimit``.
  public func render(
    messages: JSON, tools: JSON? = nil, documents: JSON? = nil, addGenerationPrompt: Bool = false,
    specialTokens: [String: String] = [:], options: [String: JSON] = [:], now: Int? = nil
  ) throws(Problem) -> String {
    guard case .array(let conversation) = messages, !conversation.isEmpty else {
      throw Problem(.chatTemplateFailed, "a chat needs at least one message")
    }
    var prepared: [JSON] = []
    for message in conversation {
      guard case .object(let members) = message else {
        throw Problem(.chatTemplateFailed, "a message is a JSON object, not \(message.text())")
      }
      prepared.append(.object(Self.prepared(members)))
    }
    var variables: [(String, Jinja.Value)] = specialTokens.map { ($0.key, .string($0.value)) }
    variables += [
      ("messages", Jinja.Value(.array(prepared))), ("tools", Jinja.Value(tools ?? .null)),
      ("documents", Jinja.Value(documents ?? .null)), ("add_generation_prompt", .boolean(addGenerationPrompt)),
    ]
    variables += options.map { ($0.key, Jinja.Value($0.value)) }
    return try render(variables, now: now)
  }

  /// Renders with just these variables.
  func render(
    _ variables: [(String, Jinja.Value)], limits: Jinja.Limits = Jinja.Limits(), now: Int? = nil
  ) throws(Problem) -> String {
    try Jinja.Interpreter.render(statements, of: source, variables: variables, limits: limits, now: now)
  }

  /// Names under which the assistant's reasoning is known, the standard one first.
  private static let reasoning = ["reasoning_content", "thinking", "reasoning"]

  private static func prepared(_ members: JSON.Members) -> JSON.Members {
    let kept = members.pairs.filter { !$0.value.isNull }
    var message = JSON.Members()
    let reasoning = reasoning.lazy.compactMap { name in kept.first { $0.key == name }?.value }.first
    if let reasoning { message["thinking"] = reasoning }
    for (key, value) in kept { message[key] = value }
    if let reasoning { message["reasoning_content"] = reasoning }
    return message
  }
}
