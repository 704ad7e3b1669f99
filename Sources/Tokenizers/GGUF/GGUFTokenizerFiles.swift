public import EspalierBasics

// The vocabulary of a GGUF file as the tokenizer files of a model folder.
extension GGUFVocabulary {
  /// `tokenizer.json` and `tokenizer_config.json`, which give the ids that the vocabulary gives.
  ///
  /// What a `tokenizer.json` cannot say, and where texts may come out otherwise, is told by warnings. Normalizations
  /// that GGUF files do not record (such as NFC in Qwen2's own tokenizer) are not in the result. Chat templates are
  /// under `chat_template`.
  ///
  /// - Throws: ``Problem/Code/tokenizerUnsupported`` for a kind of vocabulary or a pre-tokenizer that is not known, and
  ///   for tokens that JSON cannot hold; what ``Tokenizer/init(gguf:parsesSpecialTokens:)`` throws.
  public func tokenizerFiles() throws(Problem) -> (files: TokenizerFiles, warnings: [Problem]) {
    let assembly = try GGUFAssembly(self)
    let (tokenizer, warnings) = try assembly.tokenizerJSON()
    var files = try TokenizerFiles(files: [:])
    files.tokenizer = tokenizer
    files.configuration = try configuration(assembly)
    return (files, warnings)
  }

  /// `generation_config.json`: the beginning, and all tokens that end what the model says; nil if nothing is known.
  public var generationConfiguration: JSON? {
    var members: [(String, JSON)] = []
    if let id = namedID(of: .beginning) { members.append(("bos_token_id", .number(id))) }
    var endIDs = endOfGenerationIDs
    if namedID(of: .end) == nil, let implied = id(of: .end) { endIDs.remove(Int32(truncatingIfNeeded: implied)) }
    let endings = endIDs.sorted().map { JSON.number(Int($0)) }
    if let first = endings.first { members.append(("eos_token_id", endings.count == 1 ? first : .array(endings))) }
    if let id = namedID(of: .padding) { members.append(("pad_token_id", .number(id))) }
    return members.isEmpty ? nil : .object(members)
  }

  /// The id that the file itself gives a role.
  ///
  /// What a kind of vocabulary implies is no special token unless it is there as one: the id 11 of a `gpt2` vocabulary
  /// is a comma as often as not.
  public func namedID(of role: Role) -> Int? {
    guard let id = id(of: role) else { return nil }
    if ids[role] == id { return id }
    let kind = kinds.indices.contains(id) ? kinds[id] : .normal
    return kind == .control || kind == .unknown ? id : nil
  }

  private func configuration(_ assembly: GGUFAssembly) throws(Problem) -> JSON {
    let roles: [(Role, String)] = [
      (.beginning, "bos_token"), (.end, "eos_token"), (.unknown, "unk_token"), (.separator, "sep_token"),
      (.padding, "pad_token"), (.classification, "cls_token"), (.mask, "mask_token"),
    ]
    // The class that takes tokenizer.json as it is.
    var members: [(String, JSON)] = [("tokenizer_class", "PreTrainedTokenizerFast")]
    for (role, name) in roles {
      if let id = namedID(of: role) { members.append((name, .string(try assembly.text(of: id)))) }
    }
    members.append(("clean_up_tokenization_spaces", .bool(try assembly.cleansSpaces())))
    let inputs: [JSON] = ["input_ids"] + (model == "bert" ? ["token_type_ids"] : []) + ["attention_mask"]
    members.append(("model_input_names", .array(inputs)))
    if let only = chatTemplates["default"], chatTemplates.count == 1 {
      members.append(("chat_template", .string(only)))
    } else if !chatTemplates.isEmpty {
      let named = chatTemplates.sorted { $0.key < $1.key }.map { name, template in
        JSON.object([("name", .string(name)), ("template", .string(template))])
      }
      members.append(("chat_template", .array(named)))
    }
    return .object(members)
  }
}

extension GGUFAssembly {
  /// Whether decoding takes spaces before punctuation away.
  func cleansSpaces() throws(Problem) -> Bool {
    switch vocabulary.model {
    case "bert": true
    case "gpt2", "gemma4": try preTokenizer().cleansSpaces
    default: false
    }
  }

  /// A token as JSON can hold it.
  ///
  /// - Throws: ``Problem/Code/tokenizerUnsupported`` if it is no UTF-8.
  func text(of id: Int) throws(Problem) -> String {
    guard let text = String(validating: vocabulary.tokens[id], as: UTF8.self) else {
      throw Problem(
        .tokenizerUnsupported, "token \(id) of the GGUF vocabulary is no UTF-8, and tokenizer.json cannot hold it")
    }
    return text
  }
}
