internal import EspalierBasics

// A GGUF vocabulary as tokenizer.json.
extension GGUFAssembly {
  /// The parts of a `tokenizer.json` that depend on the kind of vocabulary.
  private struct Pipeline {
    var model: JSON
    var normalizer: [JSON] = []
    var preTokenizer: [JSON] = []
    var decoder: [JSON] = []
    var warnings: [Problem] = []
  }

  private static let escapedSpace = "\u{2581}"

  func tokenizerJSON() throws(Problem) -> (json: JSON, warnings: [Problem]) {
    let parts = try parts(parsesSpecialTokens: true)
    let pipeline: Pipeline
    switch vocabulary.model {
    case "llama": pipeline = try sentencePiece()
    case "gpt2", "gemma4": pipeline = try bytePair()
    case "bert": pipeline = try wordPiece()
    case "t5": pipeline = try unigram()
    default: throw unknownKind
    }
    let json = JSON.object([
      ("version", "1.0"), ("truncation", .null), ("padding", .null),
      ("added_tokens", .array(parts.addedTokens.map(\.listEntry))),
      ("normalizer", Self.joined(pipeline.normalizer, under: "normalizers")),
      ("pre_tokenizer", Self.joined(pipeline.preTokenizer, under: "pretokenizers")),
      ("post_processor", parts.postProcessor.flatMap(Self.json) ?? .null),
      ("decoder", Self.joined(pipeline.decoder, under: "decoders")), ("model", pipeline.model),
    ])
    return (json, pipeline.warnings)
  }

  // MARK: Kinds of vocabularies

  /// SentencePiece's byte-pair encoding: any two pieces whose text is a token are joined, by the score of what they
  /// become; in `tokenizer.json` they are merges in the order of those scores.
  private func sentencePiece() throws(Problem) -> Pipeline {
    let merges = try ScoreMerges(self)
    var pipeline = Pipeline(
      model: try bytePairModel(
        merges.pairs, unknown: vocabulary.id(of: .unknown), byteFallback: true, ignoresMerges: false))
    let prefixes = vocabulary.addsSpacePrefix ?? true
    if prefixes { pipeline.normalizer.append(Self.prepend(Self.escapedSpace)) }
    pipeline.normalizer.append(Self.replace(" ", by: Self.escapedSpace))
    pipeline.decoder = Self.unescaping(stripsFirstSpace: prefixes, fallsBackOnBytes: true)
    if merges.tiedTokens > 0 {
      pipeline.warnings.append(
        Problem(
          .tokenizerInexact,
          "\(merges.tiedTokens) tokens of the GGUF vocabulary share their score with another: which of two joins comes"
            + " first is decided by the place in the text there, and by the order of merges in tokenizer.json",
          severity: .warning))
    }
    return pipeline
  }

  private func bytePair() throws(Problem) -> Pipeline {
    let preTokenizer = try preTokenizer()
    let isEscaped = preTokenizer.spelling == .escapedSpaces
    let merges = try merges().map { ($0.0, $0.1) }
    var pipeline = Pipeline(
      model: try bytePairModel(
        merges, unknown: nil, byteFallback: isEscaped,
        // Lines that are nothing but breaks are tokens, merges or not; so are then the few lines that are a token.
        ignoresMerges: preTokenizer.ignoresMerges || preTokenizer.keepsLineBreaks))
    pipeline.preTokenizer = preTokenizer.patterns.map { pattern in
      [
        "type": "Split", "pattern": ["Regex": .string(pattern)], "behavior": "Isolated", "invert": false,
      ]
    }
    if isEscaped {
      pipeline.normalizer = [Self.replace(" ", by: Self.escapedSpace)]
      pipeline.decoder = Self.unescaping(
        stripsFirstSpace: vocabulary.addsSpacePrefix ?? false, fallsBackOnBytes: true)
    } else {
      pipeline.preTokenizer.append(
        ["type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false])
      pipeline.decoder = [
        ["type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true]
      ]
    }
    return pipeline
  }

  /// GGUF files mark the tokens that begin a word with U+2581, `tokenizer.json` those that do not with `##`.
  private func wordPiece() throws(Problem) -> Pipeline {
    var vocab: [(String, JSON)] = []
    var seen: Set<ExactString> = []
    for id in vocabulary.tokens.indices {
      var text = try text(of: id)
      if kinds[id] != .control && kinds[id] != .unknown && kinds[id] != .userDefined {
        // U+2581 alone continues a word: no word is empty.
        let begins = text.unicodeScalars.count > 1 && text.unicodeScalars.first == "\u{2581}"
        if begins { text.unicodeScalars.removeFirst() } else { text = "##" + text }
      }
      guard seen.insert(ExactString(text)).inserted else {
        throw Problem(
          .tokenizerUnsupported, "two tokens of the GGUF vocabulary are \(quoted(ExactString(text))) in tokenizer.json")
      }
      vocab.append((text, .number(id)))
    }
    let unknown = try text(of: Int(try id(of: .unknown)))
    let lowercases = vocabulary.lowercases ?? true
    var pipeline = Pipeline(
      model: .object([
        ("type", "WordPiece"), ("unk_token", .string(unknown)), ("continuing_subword_prefix", "##"),
        ("max_input_chars_per_word", 100), ("vocab", .object(vocab)),
      ]))
    pipeline.normalizer = [
      [
        "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
        "strip_accents": .bool(vocabulary.stripsAccents ?? lowercases), "lowercase": .bool(lowercases),
      ]
    ]
    pipeline.preTokenizer = [["type": "BertPreTokenizer"]]
    pipeline.decoder = [["type": "WordPiece", "prefix": "##", "cleanup": true]]
    pipeline.warnings = [
      Problem(
        .tokenizerInexact,
        "tokenizer.json cleans text as BERT does; programs that run the GGUF file differ from that in some scripts"
          + " (Hangul, vowel signs of Indic scripts), in control characters that are white space and in words of more than"
          + " 100 characters", severity: .warning)
    ]
    return pipeline
  }

  private func unigram() throws(Problem) -> Pipeline {
    // Only these are found in a text; the rest must not lower the score of what is unknown.
    let smallest = zip(scores, kinds).filter { $0.1 == .normal }.map(\.0).min() ?? 0
    var pieces: [JSON] = []
    for id in vocabulary.tokens.indices {
      let score: Float =
        switch kinds[id] {
        case .normal, .unused: scores[id]
        case .userDefined: 0
        default: max(scores[id], smallest)
        }
      guard score.isFinite else {
        throw Problem(.tokenizerUnsupported, "the score of token \(id) of the GGUF vocabulary is no number")
      }
      pieces.append([.string(try text(of: id)), .number(Double(score))])
    }
    var pipeline = Pipeline(
      model: .object([
        ("type", "Unigram"), ("unk_id", .number(Int(try id(of: .unknown)))), ("vocab", .array(pieces)),
        ("byte_fallback", false),
      ]))
    let (prefixes, removes) = (vocabulary.addsSpacePrefix ?? false, vocabulary.removesExtraSpaces ?? false)
    if !vocabulary.characterMap.isEmpty {
      pipeline.normalizer.append(
        ["type": "Precompiled", "precompiled_charsmap": .string(Base64.encode(vocabulary.characterMap))])
      pipeline.warnings = [
        Problem(
          .tokenizerInexact,
          "tokenizer.json applies the character map of the GGUF vocabulary character by character, not to the longest"
            + " strings it knows: texts with combining marks may differ", severity: .warning)
      ]
    }
    if removes {
      pipeline.normalizer.append(Self.replace(expression: #"\A +| +\z"#, by: ""))
      pipeline.normalizer.append(Self.replace(expression: " {2,}", by: " "))
    }
    if prefixes || removes { pipeline.normalizer.append(Self.prepend(Self.escapedSpace)) }
    pipeline.normalizer.append(Self.replace(" ", by: Self.escapedSpace))
    if wordsStandAlone {
      pipeline.preTokenizer = [
        [
          "type": "Split", "pattern": ["String": .string(Self.escapedSpace)], "behavior": "MergedWithNext",
          "invert": false,
        ]
      ]
    }
    pipeline.decoder = Self.unescaping(stripsFirstSpace: prefixes, fallsBackOnBytes: false)
    return pipeline
  }

  /// Whether words can be looked at one by one: no piece reaches from one into the next, and what is unknown ends
  /// where a word begins.
  private var wordsStandAlone: Bool {
    let space = Array(Self.escapedSpace.utf8)
    guard tokens.id(of: space) != nil else { return false }
    return vocabulary.tokens.allSatisfy { token in
      token.count <= space.count || !token.indices.dropFirst().contains { token[$0...].starts(with: space) }
    }
  }

  private func bytePairModel(
    _ merges: [(String, String)], unknown: Int?, byteFallback: Bool, ignoresMerges: Bool
  ) throws(Problem) -> JSON {
    var vocab: [(String, JSON)] = []
    vocab.reserveCapacity(vocabulary.tokens.count)
    for id in vocabulary.tokens.indices { vocab.append((try text(of: id), .number(id))) }
    var unknownToken = JSON.null
    if let unknown { unknownToken = .string(try text(of: unknown)) }
    return .object([
      ("type", "BPE"), ("dropout", .null), ("unk_token", unknownToken), ("continuing_subword_prefix", .null),
      ("end_of_word_suffix", .null), ("fuse_unk", .bool(unknown != nil)), ("byte_fallback", .bool(byteFallback)),
      ("ignore_merges", .bool(ignoresMerges)), ("vocab", .object(vocab)),
      ("merges", .array(merges.map { [.string($0.0), .string($0.1)] })),
    ])
  }

  // MARK: Components

  private static func joined(_ steps: [JSON], under key: String) -> JSON {
    switch steps.count {
    case 0: .null
    case 1: steps[0]
    default: .object([("type", "Sequence"), (key, .array(steps))])
    }
  }

  private static func prepend(_ text: String) -> JSON { ["type": "Prepend", "prepend": .string(text)] }

  private static func replace(_ text: String, by content: String) -> JSON {
    ["type": "Replace", "pattern": ["String": .string(text)], "content": .string(content)]
  }

  private static func replace(expression: String, by content: String) -> JSON {
    ["type": "Replace", "pattern": ["Regex": .string(expression)], "content": .string(content)]
  }

  private static func unescaping(stripsFirstSpace: Bool, fallsBackOnBytes: Bool) -> [JSON] {
    var steps = [replace(escapedSpace, by: " ")]
    if fallsBackOnBytes { steps.append(["type": "ByteFallback"]) }
    steps.append(["type": "Fuse"])
    if stripsFirstSpace { steps.append(["type": "Strip", "content": " ", "start": 1, "stop": 0]) }
    return steps
  }

  /// Only what GGUF vocabularies have.
  private static func json(_ processor: PostProcessor) -> JSON? {
    switch processor {
    case .bert(let separator, let begin):
      func token(_ special: PostProcessor.SpecialToken) -> JSON { [.string(special.token), .number(Int(special.id))] }
      return ["type": "BertProcessing", "sep": token(separator), "cls": token(begin)]
    case .template(let single, let pair):
      var specials: [(String, JSON)] = []
      for case .special(let tokens, _) in single + pair {
        for token in tokens where !specials.contains(where: { ExactString($0.0) == ExactString(token.token) }) {
          specials.append(
            (
              token.token,
              [
                "id": .string(token.token), "ids": [.number(Int(token.id))], "tokens": [.string(token.token)],
              ]
            ))
        }
      }
      return [
        "type": "TemplateProcessing", "single": .array(single.flatMap(json)), "pair": .array(pair.flatMap(json)),
        "special_tokens": .object(specials),
      ]
    case .roberta, .byteLevel, .sequence: return nil
    }
  }

  private static func json(_ part: PostProcessor.TemplatePart) -> [JSON] {
    switch part {
    case .text(let index, let typeID):
      [["Sequence": ["id": index == 0 ? "A" : "B", "type_id": .number(Int(typeID))]]]
    case .special(let tokens, let typeID):
      tokens.map { ["SpecialToken": ["id": .string($0.token), "type_id": .number(Int(typeID))]] }
    }
  }
}

extension Problem.Code {
  /// A tokenizer that was written anew gives other ids than the one it was made from for some texts.
  static let tokenizerInexact = Problem.Code("tokenizer.inexact")
}
