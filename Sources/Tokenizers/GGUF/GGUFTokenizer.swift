public import EspalierBasics

extension Tokenizer {
  /// The tokenizer of a GGUF file, with the results of llama.cpp (`llama_tokenize`, `llama_detokenize`).
  ///
  /// Kinds of vocabularies: `llama` (SentencePiece's byte-pair encoding), `gpt2` (byte-pair encoding with the
  /// pre-tokenizers that llama.cpp knows by name), `bert` (WordPiece) and `t5` (Unigram).
  ///
  /// - Parameter parsesSpecialTokens: whether control tokens in a text are found, as in a rendered chat; if not, they
  ///   are text like any other, and only tokens that users defined are found.
  /// - Throws: ``Problem/Code/tokenizerUnsupported`` for a kind of vocabulary or a pre-tokenizer that is not known,
  ///   naming it; ``Problem/Code/tokenizerDuplicate`` or ``Problem/Code/tokenizerMalformed`` if the vocabulary
  ///   contradicts itself.
  public init(gguf vocabulary: GGUFVocabulary, parsesSpecialTokens: Bool = true) throws(Problem) {
    try self.init(try GGUFAssembly(vocabulary).parts(parsesSpecialTokens: parsesSpecialTokens))
  }
}

/// Puts a ``Tokenizer`` together from a GGUF vocabulary.
struct GGUFAssembly {
  let vocabulary: GGUFVocabulary
  /// What each token is for, as llama.cpp sees it; one a token.
  let kinds: [GGUFVocabulary.Kind]
  let tokens: TokenTable
  /// One a token at least.
  let scores: [Float]

  init(_ vocabulary: GGUFVocabulary) throws(Problem) {
    var vocabulary = vocabulary
    var seen: [[UInt8]: Int] = [:]
    for (id, token) in vocabulary.tokens.enumerated() {
      if token.isEmpty { vocabulary.tokens[id] = Array("[EMPTY_\(id)]".utf8) }
      if let other = seen.updateValue(id, forKey: vocabulary.tokens[id]) {
        let text = ExactString(String(decoding: vocabulary.tokens[id], as: UTF8.self))
        throw Problem(.tokenizerDuplicate, "the GGUF vocabulary has the token \(quoted(text)) at \(other) and at \(id)")
      }
    }
    guard vocabulary.tokens.count < Int(Int32.max) else {
      throw Problem(.tokenizerMalformed, "the GGUF vocabulary has \(vocabulary.tokens.count) tokens, which is too many")
    }
    self.vocabulary = vocabulary
    kinds = Array(vocabulary.roles().kinds.prefix(vocabulary.tokens.count))
    scores =
      vocabulary.scores.isEmpty ? Array(repeating: 0, count: vocabulary.tokens.count) : vocabulary.scores
    guard kinds.count == vocabulary.tokens.count, scores.count >= kinds.count else {
      throw Problem(.tokenizerMalformed, "the GGUF vocabulary has fewer scores or types than tokens")
    }
    tokens = TokenTable(
      byteStrings: vocabulary.tokens.enumerated().map { ($0.element, Int32(truncatingIfNeeded: $0.offset)) })
  }

  func parts(parsesSpecialTokens: Bool) throws(Problem) -> Tokenizer.Parts {
    var parts: Tokenizer.Parts
    switch vocabulary.model {
    case "llama": parts = try sentencePiece()
    case "gpt2", "gemma4": parts = try bytePair()
    case "bert": parts = try wordPiece()
    case "t5": parts = try unigram()
    default: throw unknownKind
    }
    parts.addedTokens = addedTokens(parsesSpecialTokens: parsesSpecialTokens)
    parts.matchesLongestFirst = true
    return parts
  }

  var unknownKind: Problem {
    Problem(
      .tokenizerUnsupported,
      "the vocabulary of the GGUF file is of the kind \"\(vocabulary.model)\" (tokenizer.ggml.model)",
      remedy: "Known are llama, gpt2, gemma4, bert and t5.")
  }

  // MARK: Kinds of vocabularies

  private func sentencePiece() throws(Problem) -> Tokenizer.Parts {
    let prefixes = vocabulary.addsSpacePrefix ?? true
    var parts = Tokenizer.Parts(model: ScoreMergeModel(tokens: tokens, scores: scores))
    let escape = Normalizer.replace(Pattern(literal: " "), "\u{2581}")
    parts.normalizer = prefixes ? .sequence([.prepend("\u{2581}"), escape]) : escape
    parts.postProcessor = try ends(
      begin: vocabulary.addsBeginning ?? true ? .beginning : nil, end: vocabulary.addsEnd ?? false ? .end : nil)
    decode(&parts, stripsFirstSpace: prefixes, cleansSpaces: false) { Self.unescaped($0) }
    return parts
  }

  func preTokenizer() throws(Problem) -> GGUFPreTokenizer {
    try .named(vocabulary.model == "gemma4" ? "gemma4" : vocabulary.preTokenizer)
  }

  private func bytePair() throws(Problem) -> Tokenizer.Parts {
    let preTokenizer = try preTokenizer()
    var options = BytePairModel.Options()
    options.ignoresMerges = preTokenizer.ignoresMerges
    switch preTokenizer.spelling {
    case .byteLevel: options.alphabet = .bytes
    case .escapedSpaces: options.byteFallback = true
    }
    let model = try BytePairModel(tokens: tokens, merges: try merges(), options: options)
    var parts = Tokenizer.Parts(model: preTokenizer.keepsLineBreaks ? LineBreakModel(model: model) : model)
    parts.preTokenizer = try preTokenizer.preTokenizer()
    // A vocabulary of this kind may not be asked to leave out its beginning.
    let begins = preTokenizer.keepsLineBreaks || vocabulary.addsBeginning ?? preTokenizer.addsBeginning
    parts.postProcessor = try ends(begin: begins ? .beginning : nil, end: vocabulary.addsEnd ?? false ? .end : nil)
    let stripsFirstSpace = vocabulary.addsSpacePrefix ?? false
    switch preTokenizer.spelling {
    case .byteLevel:
      decode(&parts, stripsFirstSpace: stripsFirstSpace, cleansSpaces: preTokenizer.cleansSpaces) {
        ByteAlphabet.bytes(of: $0) ?? $0
      }
    case .escapedSpaces:
      parts.normalizer = .replace(Pattern(literal: " "), "\u{2581}")
      decode(&parts, stripsFirstSpace: stripsFirstSpace, cleansSpaces: preTokenizer.cleansSpaces) {
        Self.unescaped($0)
      }
    }
    return parts
  }

  func merges() throws(Problem) -> [(String, String)] {
    var merges: [(String, String)] = []
    merges.reserveCapacity(vocabulary.merges.count)
    for (rank, merge) in vocabulary.merges.enumerated() {
      // A merge's first part may itself begin with a space.
      guard let space = merge.dropFirst().firstIndex(of: 0x20) else {
        throw Problem(.tokenizerMalformed, "merge \(rank) of the GGUF vocabulary has no two parts")
      }
      merges.append(
        (String(decoding: merge[..<space], as: UTF8.self), String(decoding: merge[(space + 1)...], as: UTF8.self)))
    }
    return merges
  }

  private func wordPiece() throws(Problem) -> Tokenizer.Parts {
    let lowercases = vocabulary.lowercases ?? true
    let model = PhantomSpaceModel(
      tokens: tokens, unknownID: try id(of: .unknown), lowercases: lowercases,
      stripsAccents: vocabulary.stripsAccents ?? lowercases)
    var parts = Tokenizer.Parts(model: model)
    parts.postProcessor = .bert(separator: try special(.separator), begin: try special(.beginning))
    decode(&parts, stripsFirstSpace: vocabulary.addsSpacePrefix ?? false, cleansSpaces: true) { Self.unescaped($0) }
    return parts
  }

  private func unigram() throws(Problem) -> Tokenizer.Parts {
    let prefixes = vocabulary.addsSpacePrefix ?? false
    let map = vocabulary.characterMap
    let options = SentenceUnigramModel.Options(
      unknownID: try id(of: .unknown), addsSpacePrefix: prefixes,
      removesExtraSpaces: vocabulary.removesExtraSpaces ?? false, map: map.isEmpty ? nil : try CharacterMap(bytes: map))
    var parts = Tokenizer.Parts(
      model: try SentenceUnigramModel(tokens: tokens, scores: scores, kinds: kinds, options: options))
    parts.postProcessor = try ends(
      begin: vocabulary.addsBeginning ?? false ? .beginning : nil, end: vocabulary.addsEnd ?? true ? .end : nil)
    decode(&parts, stripsFirstSpace: prefixes, cleansSpaces: false) { Self.unescaped($0) }
    return parts
  }

  // MARK: Special tokens

  func id(of role: GGUFVocabulary.Role) throws(Problem) -> Int32 {
    guard let id = vocabulary.id(of: role) else {
      throw Problem(
        .tokenizerMalformed,
        "the GGUF vocabulary needs a token for \(role.rawValue), and names none that it has")
    }
    return Int32(truncatingIfNeeded: id)
  }

  private func special(_ role: GGUFVocabulary.Role) throws(Problem) -> PostProcessor.SpecialToken {
    let id = try id(of: role)
    return PostProcessor.SpecialToken(String(decoding: vocabulary.tokens[Int(id)], as: UTF8.self), id: id)
  }

  /// Tokens around every text.
  private func ends(
    begin: GGUFVocabulary.Role?, end: GGUFVocabulary.Role?
  ) throws(Problem) -> PostProcessor? {
    guard begin != nil || end != nil else { return nil }
    func around(_ index: Int) throws(Problem) -> [PostProcessor.TemplatePart] {
      let typeID = Int32(truncatingIfNeeded: index)
      var parts = [PostProcessor.TemplatePart.text(index, typeID: typeID)]
      if let begin { parts.insert(.special([try special(begin)], typeID: typeID), at: 0) }
      if let end { parts.append(.special([try special(end)], typeID: typeID)) }
      return parts
    }
    return .template(single: try around(0), pair: try around(0) + around(1))
  }

  func addedTokens(parsesSpecialTokens: Bool) -> [AddedToken] {
    let name = vocabulary.modelName.lowercased()
    let stripsRight = name.contains("phi-3") || name.contains("phi3")
    let maskStripsLeft =
      ["jina-v2-de", "jina-v2-es", "jina-v2-code"].contains(vocabulary.preTokenizer ?? "")
      || ["nomic-bert-moe", "jina-bert-v3"].contains(vocabulary.architecture)
    return kinds.enumerated().compactMap { id, kind in
      let isSpecial = kind == .control || kind == .unknown
      guard kind == .userDefined || (isSpecial && parsesSpecialTokens),
        let text = String(validating: vocabulary.tokens[id], as: UTF8.self)
      else { return nil }
      var token = AddedToken(ExactString(text), id: id)
      token.normalized = false
      token.special = isSpecial
      token.rightStrip = stripsRight && !["<unk>", "<s>", "<|endoftext|>"].contains(text)
      token.leftStrip =
        (maskStripsLeft && text == "<mask>") || (!stripsRight && name.contains("modern-bert") && text == "[MASK]")
      return token
    }
  }

  // MARK: Decoding

  private static func unescaped(_ token: [UInt8]) -> [UInt8] {
    ByteText.replacing(token, [0xE2, 0x96, 0x81], by: [0x20])
  }

  private func decode(
    _ parts: inout Tokenizer.Parts, stripsFirstSpace: Bool, cleansSpaces: Bool, _ text: ([UInt8]) -> [UInt8]
  ) {
    var special: Set<Int32> = []
    let pieces = zip(vocabulary.tokens, kinds).enumerated().map { id, entry -> [UInt8] in
      let (token, kind) = entry
      switch kind {
      case .normal: return text(token)
      case .userDefined: return token
      case .control, .unknown:
        special.insert(Int32(truncatingIfNeeded: id))
        return token
      case .byte: return ByteFallbackTokens.byte(token).map { [$0] } ?? []
      case .unused, .undefined: return []
      }
    }
    parts.pieces = TokenPieces(bytes: pieces, special: special)
    parts.decoder = .pieces(stripsFirstSpace: stripsFirstSpace, cleansSpaces: cleansSpaces)
  }
}
