public import EspalierBasics

// The chat templates of a model folder.
extension TokenizerFiles {
  private static let additionalFolder = "additional_chat_templates/"

  /// All chat templates by name: `default`, and others such as `tool_use`.
  ///
  /// They are the file `chat_template.jinja` with those under `additional_chat_templates/` if there is one, else
  /// `chat_template` in `tokenizer_config.json` (a string, or a list of named templates), else in
  /// `chat_template.json`.
  public var chatTemplates: [String: String] {
    let contents = contents
    var named: [String: String] = [:]
    for (name, bytes) in contents where name.hasPrefix(Self.additionalFolder) && name.hasSuffix(".jinja") {
      let short = name.dropFirst(Self.additionalFolder.count).dropLast(".jinja".count)
      named[String(short)] = String(decoding: bytes, as: UTF8.self)
    }
    if let bytes = contents["chat_template.jinja"] { named["default"] = String(decoding: bytes, as: UTF8.self) }
    if !named.isEmpty { return named }
    let setting =
      configuration?["chat_template"]
      ?? contents["chat_template.json"].flatMap { bytes in
        (try? JSON(parsing: bytes))?["chat_template"]
      }
    if let only = setting?.string { return ["default": only] }
    for entry in setting?.array ?? [] {
      if let name = entry["name"]?.string, let template = entry["template"]?.string { named[name] = template }
    }
    return named
  }

  /// The chat template to use: the one called `name`, else `tool_use` if there are tools and there is such a one,
  /// else `default`.
  ///
  /// - Throws: ``Problem/Code/chatTemplateMissing`` if there is none; the codes of ``ChatTemplate/init(source:)``.
  public func chatTemplate(named name: String? = nil, forTools: Bool = false) throws(Problem) -> ChatTemplate {
    try ChatTemplate.chosen(from: chatTemplates, named: name, forTools: forTools)
  }

  /// The special tokens as templates know them: `bos_token`, `eos_token`, `pad_token` and the like, from
  /// `tokenizer_config.json` or else `special_tokens_map.json`.
  public var specialTokenVariables: [String: String] {
    var variables: [String: String] = [:]
    for settings in [specialTokensMap, configuration] {
      for (key, value) in settings?.members?.pairs ?? [] where key.hasSuffix("_token") {
        if let token = value.string ?? value["content"]?.string { variables[key] = token }
      }
    }
    return variables
  }
}

extension ChatTemplate {
  /// The one of a model's templates to use: the one called `name`, else `tool_use` for tools, else `default`.
  static func chosen(
    from templates: [String: String], named name: String?, forTools: Bool
  ) throws(Problem) -> ChatTemplate {
    let wanted = name ?? (forTools && templates["tool_use"] != nil ? "tool_use" : "default")
    if let template = templates[wanted] { return try ChatTemplate(source: template) }
    let known = templates.keys.sorted().joined(separator: ", ")
    let builtIn = builtInChatTemplates.keys.sorted().joined(separator: ", ")
    throw Problem(
      .chatTemplateMissing,
      templates.isEmpty ? "the model has no chat template" : "the model has no chat template \"\(wanted)\"",
      remedy: templates.isEmpty
        ? "A base model continues text; give a template, such as one of \(builtIn)." : "It has \(known).")
  }
}
