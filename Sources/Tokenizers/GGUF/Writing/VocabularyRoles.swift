internal import EspalierBasics

/// Which tokens play which roles, and which are put around a text, by all that a model folder says.
///
/// This is how llama.cpp's converter finds them: names in `tokenizer_config.json` go before ids in `config.json`; what
/// the post-processor puts in goes before both. Here `special_tokens_map.json` and `generation_config.json` are looked
/// into as well, after the others, and tokens need not be added tokens to be found.
struct VocabularyRoles {
  var ids: [GGUFVocabulary.Role: Int] = [:]
  var addsBeginning: Bool?
  var addsEnd: Bool?
  var addsSeparator: Bool?
  private(set) var warnings: [Problem] = []

  private typealias Role = GGUFVocabulary.Role

  private static let names: [(role: GGUFVocabulary.Role, name: String)] = [
    (.beginning, "bos"), (.end, "eos"), (.endOfTurn, "eot"), (.endOfMessage, "eom"), (.unknown, "unk"),
    (.separator, "sep"), (.padding, "pad"), (.classification, "cls"), (.mask, "mask"),
  ]

  private var tokens: [GGUFVocabulary.Role: String] = [:]

  /// - Parameters:
  ///   - processor: of `tokenizer.json`; nil if there is none.
  ///   - count: ids from there on are left out.
  ///   - find: the id of a token.
  init(
    _ source: GGUFVocabulary.Source, processor: PostProcessor?, count: Int, find: (String) -> Int?
  ) {
    let variables = source.files.specialTokenVariables
    for (role, name) in Self.names where role != .endOfTurn && role != .endOfMessage {
      tokens[role] = variables[name + "_token"]
    }
    tokens[.beginning] = tokens[.beginning] ?? tokens[.classification]
    tokens[.end] = tokens[.end] ?? tokens[.separator]
    if let processor { read(processor) }

    let configuration = source.files.configuration
    addsBeginning = addsBeginning ?? configuration?["add_bos_token"]?.bool
    addsEnd = addsEnd ?? configuration?["add_eos_token"]?.bool
    addsSeparator = addsSeparator ?? configuration?["add_sep_token"]?.bool

    for (role, name) in Self.names {
      let key = name + "_token_id"
      let settings = [source.configuration, source.configuration?["text_config"], source.generationConfiguration]
      let given = settings.lazy.compactMap { settings in
        settings?[key]?.integer ?? settings?[key]?.array?.first?.integer
      }
      guard let id = tokens[role].flatMap(find) ?? given.first, id >= 0 else { continue }
      guard id < count else {
        warn("the \(name) token has the id \(id), and the model has no row for it")
        continue
      }
      ids[role] = id
    }
  }

  private mutating func warn(_ message: String) {
    warnings.append(Problem(.tokenizerInexact, message, severity: .warning))
  }

  // MARK: Post-processors

  private mutating func read(_ processor: PostProcessor) {
    switch processor {
    case .sequence(let parts): for part in parts { read(part) }
    case .byteLevel:
      addsBeginning = addsBeginning ?? false
      addsEnd = addsEnd ?? false
    case .bert(let separator, let begin): frame(begin.token, separator.token)
    case .roberta(let separator, let begin, _, _):
      frame(begin.token, separator.token)
      (addsBeginning, addsEnd, addsSeparator) = (true, true, true)
    case .template(let single, let pair): readTemplate(single, pair)
    }
  }

  private mutating func frame(_ begin: String, _ end: String) {
    tokens[.classification] = tokens[.classification] ?? begin
    tokens[.separator] = tokens[.separator] ?? end
    tokens[.beginning] = tokens[.beginning] ?? begin
    tokens[.end] = tokens[.end] ?? end
  }

  private static func token(_ part: PostProcessor.TemplatePart?) -> String? {
    if case .special(let tokens, _)? = part, tokens.count == 1 { tokens[0].token } else { nil }
  }

  private mutating func readTemplate(_ single: [PostProcessor.TemplatePart], _ pair: [PostProcessor.TemplatePart]) {
    let first = Self.token(single.first)
    let last = Self.token(single.last)
    guard single.count == 1 + (first == nil ? 0 : 1) + (last == nil ? 0 : 1) else {
      return warn(
        "the tokenizer puts more than one special token before or after a text, and a GGUF file cannot say so")
    }
    if let first {
      let isKnown = [tokens[.beginning], tokens[.classification]].contains { Self.same($0, first) }
      if !isKnown {
        if tokens[.beginning] == nil {
          tokens[.beginning] = first
        } else if tokens[.classification] == nil {
          tokens[.classification] = first
        } else {
          warn("the tokenizer puts \(quoted(ExactString(first))) before a text, which is not its beginning token")
        }
      }
      addsBeginning = [tokens[.beginning], tokens[.classification]].contains { Self.same($0, first) }
    }
    if let last {
      if let end = tokens[.end], !Self.same(end, last) {
        tokens[tokens[.endOfTurn] == nil ? .endOfTurn : .endOfMessage] = end
      }
      tokens[.end] = last
      addsEnd = true
    }
    readSeparator(pair, first: first, last: last)
  }

  /// What stands between the texts of a pair, but for what stands around both.
  private mutating func readSeparator(_ pair: [PostProcessor.TemplatePart], first: String?, last: String?) {
    var inner = pair[...]
    if let first, Self.same(Self.token(inner.first), first) { inner = inner.dropFirst() }
    if let last, Self.same(Self.token(inner.last), last) { inner = inner.dropLast() }
    guard case .text(0, _)? = inner.first, case .text(1, _)? = inner.last, inner.count > 2 else { return }
    let between = inner.dropFirst().dropLast().map(Self.token)
    let ends = [tokens[.separator], tokens[.end]]
    func isEnd(_ token: String?) -> Bool { ends.contains { end in token.map { Self.same(end, $0) } ?? false } }
    let adds = (isEnd(between[0]) && last == nil) || (between.count == 2 && isEnd(between[1]))
    addsSeparator = adds
    if adds, tokens[.separator] == nil { tokens[.separator] = tokens[.end] }
  }

  private static func same(_ a: String?, _ b: String) -> Bool { a.map { ExactString($0) == ExactString(b) } ?? false }
}
