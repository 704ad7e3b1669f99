// What llama.cpp makes of the types of tokens and of their roles when it loads a vocabulary.
extension GGUFVocabulary {
  /// Tokens that end what a model says, whatever the file calls them.
  private static let endings: Set<String> = [
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>", "<end_of_turn>",
    "<|endoftext|>", "</s>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]", "[EOS]", "<|end_of_text|>",
    "<end_of_utterance>", "<eos>", "<turn|>", "<|tool_response>", "<\u{FF5C}end\u{2581}of\u{2581}sentence\u{FF5C}>",
    "[e~[",
  ]

  /// Tokens around code that is to be filled in, of which the first found of each line counts.
  private static let fillings: [(role: Role?, names: [String])] = [
    (
      nil,
      [
        "<|fim_prefix|>", "<fim-prefix>", "<fim_prefix>", "<\u{FF5C}fim\u{2581}begin\u{FF5C}>", "<PRE>",
        "\u{2581}<PRE>", "<|code_prefix|>", "<|prefix|>",
      ]
    ),
    (
      nil,
      [
        "<|fim_suffix|>", "<fim-suffix>", "<fim_suffix>", "<\u{FF5C}fim\u{2581}hole\u{FF5C}>", "<SUF>",
        "\u{2581}<SUF>", "<|code_suffix|>", "<|suffix|>",
      ]
    ),
    (
      nil,
      [
        "<|fim_middle|>", "<fim-middle>", "<fim_middle>", "<\u{FF5C}fim\u{2581}end\u{FF5C}>", "<MID>",
        "\u{2581}<MID>", "<|code_middle|>", "<|middle|>",
      ]
    ),
    (.fillPadding, ["<|fim_pad|>", "<fim-pad>", "<fim_pad>", "<PAD>", "[PAD]"]),
    (.fillRepository, ["<|fim_repo|>", "<|repo_name|>", "<fim-repo>", "<REPO>", "<reponame>"]),
    (.fillSeparator, ["<|file_sep|>"]),
  ]

  /// Marks inside messages of gpt-oss, which are text for its users.
  private static let marks = ["<|channel|>", "<|message|>", "<|start|>", "<|constrain|>"]

  /// Types and endings of all tokens.
  struct Roles: Sendable {
    /// By id.
    var kinds: [Kind]
    /// Ids that end what a model says.
    var endings: Set<Int32>
  }

  /// The id of the token that plays a role; what the kind of vocabulary implies where the file says nothing.
  func id(of role: Role) -> Int? {
    if let id = ids[role], tokens.indices.contains(id) { return id }
    let implied: Int?
    switch (model, role) {
    case ("llama", .beginning), ("t5", .end): implied = 1
    case ("llama", .end), ("t5", .unknown): implied = 2
    case ("llama", .unknown), ("bert", .padding), ("t5", .padding): implied = 0
    case ("bert", .beginning): implied = 101
    case ("bert", .unknown): implied = 100
    case ("bert", .separator): implied = 102
    case ("bert", .mask): implied = 103
    case ("gpt2", .beginning): implied = GGUFPreTokenizer.hasNoBeginning(preTokenizer) ? nil : 11
    case ("gpt2", .end): implied = 11
    default: implied = nil
    }
    return implied.flatMap { tokens.indices.contains($0) ? $0 : nil }
  }

  /// Ids of tokens that end what a model says: end of text, of turn, of message.
  public var endOfGenerationIDs: Set<Int32> { roles().endings }

  func roles() -> Roles {
    var byText: [[UInt8]: Int] = [:]
    for (id, token) in tokens.enumerated() { byText[token] = id }
    func find(_ name: String) -> Int? { byText[Array(name.utf8)] }
    let untold = Array(repeating: Kind.normal, count: max(0, tokens.count - kinds.count))
    var roles = Roles(kinds: kinds + untold, endings: [])

    for (role, names) in Self.fillings {
      let given = role.flatMap { ids[$0] }
      guard let id = given ?? names.lazy.compactMap(find).first, tokens.indices.contains(id) else { continue }
      if given == nil { roles.kinds[id] = .control }
      if role != nil { roles.endings.insert(Int32(truncatingIfNeeded: id)) }
    }
    for name in Self.endings {
      guard let id = find(name) else { continue }
      roles.kinds[id] = .control
      roles.endings.insert(Int32(truncatingIfNeeded: id))
    }
    for id in Self.marks.compactMap(find) { roles.kinds[id] = .userDefined }
    for role in [Role.end, .endOfTurn, .endOfMessage] {
      if let id = id(of: role) { roles.endings.insert(Int32(truncatingIfNeeded: id)) }
    }
    // With these, "<|end|>" ends a message and not the answer.
    let hasCall = find("<|call|>") != nil || find("<|calls|>") != nil
    if hasCall, find("<|return|>") != nil || find("<|flush|>") != nil, let end = find("<|end|>") {
      roles.endings.remove(Int32(truncatingIfNeeded: end))
      roles.kinds[end] = .userDefined
    }
    // With these, "</s>" is an HTML tag.
    if find("<|tool_response>") != nil || find("<|plamo:eos|>") != nil, let strike = find("</s>") {
      roles.endings.remove(Int32(truncatingIfNeeded: strike))
      roles.kinds[strike] = .normal
    }
    return roles
  }
}
