internal import EspalierBasics

// Unigram models and SentencePiece's files as vocabularies of the kinds `t5` and `llama`.
extension VocabularyDraft {
  /// What normalization and pre-tokenizer of a Unigram tokenizer amount to.
  private struct Spaces {
    var map: [UInt8] = []
    var addsPrefix = false
    var removesExtra = false
    var escapes = false
  }

  mutating func readUnigram(_ json: JSON, _ steps: [PreTokenizer], _ known: Vocabulary) throws(Problem) {
    guard let model = json["model"], let entries = model["vocab"]?.array else {
      throw Problem(.tokenizerMalformed, "the vocabulary of the model is no list")
    }
    if model["byte_fallback"]?.bool == true, known.id(of: "<0x00>") != nil {
      throw Self.inexpressible("it is a Unigram model that falls back on bytes")
    }
    let spaces = try readSpaces(json, steps)
    vocabulary.model = "t5"
    vocabulary.preTokenizer = source.preTokenizer ?? "default"
    let unknown = model["unk_id"]?.integer
    try setTokens(count: known.size) { (id) throws(Problem) in
      guard let token = known.token(id) else { return nil }
      if id == unknown { return (Array(token.text.utf8), .unknown) }
      return known.added[token].map(Self.added) ?? (Array(token.text.utf8), .normal)
    }
    vocabulary.scores = vocabulary.kinds.enumerated().map { id, kind in
      if id < entries.count, let score = entries[id][1]?.number { return Float(score) }
      return kind == .unused ? -10_000 : -1000
    }
    vocabulary.ids[.unknown] = unknown
    vocabulary.addsSpacePrefix = spaces.addsPrefix
    vocabulary.removesExtraSpaces = spaces.removesExtra
    vocabulary.characterMap = spaces.map
    if !spaces.map.isEmpty {
      warn(
        "the tokenizer applies its character map character by character, programs that run the GGUF file to the longest"
          + " strings it knows: texts with combining marks may differ")
    }
  }

  private func readSpaces(_ json: JSON, _ steps: [PreTokenizer]) throws(Problem) -> Spaces {
    var spaces = Spaces()
    for normalizer in Self.steps(of: tokenizer?.parts.normalizer) {
      switch normalizer {
      case .precompiled: spaces.map = Self.characterMap(json["normalizer"]) ?? []
      case .strip(left: _, right: true): spaces.removesExtra = true
      case .replace(let pattern, " "), .replace(let pattern, "\u{2581}"):
        if pattern.source == " {2,}" {
          spaces.removesExtra = true
        } else if pattern.source == " " {
          spaces.escapes = true
        } else {
          throw Self.inexpressible("it replaces \(quoted(ExactString(pattern.source)))")
        }
      case .replace(let pattern, "") where pattern.source == #"\A +| +\z"#: spaces.removesExtra = true
      case .prepend("\u{2581}"): spaces.addsPrefix = true
      default: throw Self.inexpressible("it normalizes texts (\(Self.name(normalizer)))")
      }
    }
    for step in steps {
      switch step {
      case .whitespaceSplit: spaces.removesExtra = true
      case .metaspace(replacement: "\u{2581}", let prepend, _):
        spaces.escapes = true
        if prepend != .never { spaces.addsPrefix = true }
      case .split(let pattern, .mergedWithNext, inverted: false) where pattern.source == "\u{2581}": break
      default: throw Self.inexpressible("it cuts texts (\(Self.name(step)))")
      }
    }
    guard spaces.escapes else { throw Self.inexpressible("it does not write spaces as U+2581") }
    return spaces
  }

  private static func characterMap(_ normalizer: JSON?) -> [UInt8]? {
    if let text = normalizer?["precompiled_charsmap"]?.string { return Base64.decode(text.utf8) }
    for part in normalizer?["normalizers"]?.array ?? [] {
      if let map = characterMap(part) { return map }
    }
    return nil
  }

  // MARK: SentencePiece

  /// A folder with SentencePiece's model and no `tokenizer.json`; `added_tokens.json` and `added_tokens_decoder` add to
  /// it or say what its pieces are for.
  mutating func read(_ file: SentencePieceFile) throws(Problem) {
    guard file.model == .bytePair || file.model == .unigram else {
      throw Self.inexpressible("there is no kind of vocabulary for SentencePiece's models of whole words or characters")
    }
    if file.spacesEndWords { throw Self.inexpressible("its spaces end words (`treat_whitespace_as_suffix`)") }
    let added = try addedTokens()
    let size = max(file.pieces.count, (added.keys.max() ?? -1) + 1)
    var scores: [Float] = []
    try setTokens(count: size) { (id) throws(Problem) in
      if let token = added[id] {
        scores.append(-1000)
        return Self.added(token)
      }
      guard id < file.pieces.count else {
        scores.append(-10_000)
        return nil
      }
      let piece = file.pieces[id]
      scores.append(piece.score)
      guard piece.kind == .userDefined else { return (piece.text, piece.kind) }
      return (ByteText.replacing(piece.text, [0xE2, 0x96, 0x81], by: [0x20]), .userDefined)
    }
    scores += Array(repeating: -10_000, count: max(0, vocabulary.tokens.count - scores.count))
    vocabulary.scores = scores
    vocabulary.preTokenizer = source.preTokenizer ?? "default"
    vocabulary.ids[.unknown] = file.pieces.firstIndex { $0.kind == .unknown }
    if file.model == .bytePair {
      vocabulary.model = "llama"
      if !file.addsPrefix { vocabulary.addsSpacePrefix = false }
      if file.removesExtraSpaces || !file.characterMap.isEmpty {
        warn(
          "SentencePiece's model takes extra spaces away or maps characters, and a GGUF file of this kind cannot say so"
        )
      }
    } else {
      vocabulary.model = "t5"
      vocabulary.addsSpacePrefix = file.addsPrefix
      vocabulary.removesExtraSpaces = file.removesExtraSpaces
      vocabulary.characterMap = file.characterMap
    }
    finish(unknown: nil)
  }

  private func addedTokens() throws(Problem) -> [Int: AddedToken] {
    var tokens: [Int: AddedToken] = [:]
    func add(_ token: AddedToken) throws(Problem) {
      guard token.id >= 0, token.id < Int(Int32.max) else {
        throw Problem(.tokenizerMalformed, "the id \(token.id) of token \(quoted(token.content)) is none")
      }
      tokens[token.id] = token
    }
    for (content, id) in source.files.addedTokens?.members?.pairs ?? [] {
      guard let id = id.integer else {
        throw Problem(.tokenizerMalformed, "the id of token \(quoted(ExactString(content))) is no integer")
      }
      try add(AddedToken(ExactString(content), id: id))
    }
    for (key, entry) in source.files.configuration?["added_tokens_decoder"]?.members?.pairs ?? [] {
      guard let id = Int(key), let token = AddedToken(entry, id: id) else {
        throw Problem(.tokenizerMalformed, "an entry of added_tokens_decoder is not an id and a token: \(key)")
      }
      try add(token)
    }
    return tokens
  }
}
