internal import EspalierBasics

// Byte-pair encodings as vocabularies of the kinds `gpt2` and `llama`.
extension VocabularyDraft {
  private static let escapedSpace = "\u{2581}"

  // MARK: Bytes

  mutating func readByteLevel(_ model: JSON, _ steps: [PreTokenizer], _ known: Vocabulary) throws(Problem) {
    try refuseAffixes(model)
    for normalizer in Self.steps(of: tokenizer?.parts.normalizer) {
      guard case .nfc = normalizer else { throw Self.inexpressible("it normalizes texts (\(Self.name(normalizer)))") }
      warn("the tokenizer brings texts into normal form C, and a GGUF file cannot say so: other texts get other ids")
    }
    for case .byteLevel(addPrefixSpace: true, _) in steps {
      warn("the tokenizer puts a space before a text, and a GGUF file of this kind cannot say so")
    }
    vocabulary.model = "gpt2"
    if let given = source.preTokenizer {
      guard try GGUFPreTokenizer.named(given).spelling == .byteLevel else {
        throw Problem(.tokenizerUnsupported, "the pre-tokenizer \(given) is none of byte-level vocabularies")
      }
      vocabulary.preTokenizer = given
    } else {
      vocabulary.preTokenizer = try PreTokenizerName.name(
        of: steps, ignoresMerges: model["ignore_merges"]?.bool ?? false,
        cleansSpaces: source.files.configuration?["clean_up_tokenization_spaces"]?.bool, family: family)
    }
    try setTokens(count: known.size) { (id) throws(Problem) in
      guard let token = known.token(id) else { return nil }
      return known.added[token].map(Self.added) ?? (Array(token.text.utf8), .normal)
    }
    for (left, right) in try ModelReader.merges(model) {
      // A space parts the two. The byte-level alphabet writes it otherwise, so that merges with one do nothing.
      if left.utf8.contains(0x20) || right.utf8.contains(0x20) { continue }
      vocabulary.merges.append(Array(left.utf8) + [0x20] + Array(right.utf8))
    }
    // As the converter does for the families that it reads as llama's.
    if ["llama", "mistral", "mixtral"].contains(family ?? "") {
      vocabulary.addsSpacePrefix = source.files.configuration?["add_prefix_space"]?.bool
    }
  }

  private func refuseAffixes(_ model: JSON) throws(Problem) {
    for key in ["continuing_subword_prefix", "end_of_word_suffix"] {
      if let affix = model[key]?.string, !affix.isEmpty {
        throw Self.inexpressible("its tokens have \(quoted(ExactString(affix))) at word ends (`\(key)`)")
      }
    }
  }

  // MARK: Characters, and bytes where there is no token

  mutating func readByteFallback(_ model: JSON, _ steps: [PreTokenizer], _ known: Vocabulary) throws(Problem) {
    try refuseAffixes(model)
    guard model["byte_fallback"]?.bool == true else {
      throw Self.inexpressible("it is a byte-pair encoding without bytes (neither byte-level nor `byte_fallback`)")
    }
    for byte in UInt8.min...UInt8.max {
      let name = String(decoding: ByteFallbackTokens.name(byte), as: UTF8.self)
      guard known.id(of: ExactString(name)) != nil else { throw Self.inexpressible("it has no token \(name)") }
    }
    vocabulary.model = "llama"
    vocabulary.preTokenizer = source.preTokenizer ?? "default"
    let unknown = model["unk_token"]?.string
    try setTokens(count: known.size) { (id) throws(Problem) in
      guard let token = known.token(id) else { return nil }
      if let added = known.added[token] { return Self.added(added) }
      let text = Array(token.text.utf8)
      if ByteFallbackTokens.byte(text) != nil { return (text, .byte) }
      let isUnknown = unknown.map { ExactString($0) == token } ?? false
      return (text, isUnknown ? .unknown : .normal)
    }
    let prefixes = try readSpaces(steps, known)
    if !prefixes { vocabulary.addsSpacePrefix = false }
    try setScores(merges: try ModelReader.merges(model), known)
  }

  private mutating func setScores(merges: [(String, String)], _ known: Vocabulary) throws(Problem) {
    if let pieces = try storedPieces(known) {
      vocabulary.scores = pieces.map(\.score)
    } else {
      let entries = known.ordered.map { (bytes: Array($0.token.text.utf8), id: Int32(truncatingIfNeeded: $0.id)) }
      let found = MergeScores(
        tokens: TokenTable(byteStrings: entries), isNormal: vocabulary.kinds.map { $0 == .normal }, merges: merges)
      vocabulary.scores = found.scores
      if found.incompleteTokens > 0 {
        warn(
          "\(found.incompleteTokens) tokens can be joined in ways that are no merges of the tokenizer, which programs"
            + " that run the GGUF file will do")
      }
      if found.scatteredTokens > 0 {
        warn(
          "\(found.scatteredTokens) tokens are made by merges of different ranks, of which one score keeps the first")
      }
    }
    vocabulary.scores += Array(repeating: 0, count: max(0, vocabulary.tokens.count - vocabulary.scores.count))
    vocabulary.scores.removeLast(vocabulary.scores.count - vocabulary.tokens.count)
    for (id, kind) in vocabulary.kinds.enumerated() {
      switch kind {
      case .control, .userDefined, .unknown: vocabulary.scores[id] = -1000
      case .byte: vocabulary.scores[id] = 0
      case .unused: vocabulary.scores[id] = -10_000
      case .normal, .undefined: break
      }
    }
  }

  /// The pieces of SentencePiece's own file beside `tokenizer.json`, if they are its tokens.
  private mutating func storedPieces(_ known: Vocabulary) throws(Problem) -> [SentencePieceFile.Piece]? {
    guard let (name, bytes) = sentencePieceFile else { return nil }
    guard let file = try? SentencePieceFile(bytes: bytes), file.model == .bytePair else { return nil }
    let agrees = file.pieces.enumerated().allSatisfy { id, piece in
      guard let token = known.token(id), known.added[token] == nil else { return true }
      return piece.text.elementsEqual(token.text.utf8)
    }
    guard agrees, file.pieces.count >= known.ordered.count(where: { known.added[$0.token] == nil }) else {
      warn("\(name) has other tokens than tokenizer.json, which counts")
      return nil
    }
    return file.pieces
  }

  /// Whether a text gets a space in front.
  private mutating func readSpaces(_ steps: [PreTokenizer], _ known: Vocabulary) throws(Problem) -> Bool {
    var prefixes = false
    var escapes = false
    for normalizer in Self.steps(of: tokenizer?.parts.normalizer) {
      switch normalizer {
      case .prepend(Self.escapedSpace) where !escapes: prefixes = true
      case .prepend(" ") where !escapes: prefixes = true
      case .replace(let pattern, Self.escapedSpace) where pattern.source == " ": escapes = true
      default: throw Self.inexpressible("it normalizes texts (\(Self.name(normalizer)))")
      }
    }
    for step in steps {
      switch step {
      case .metaspace(replacement: "\u{2581}", let prepend, let splits):
        escapes = true
        if prepend != .never {
          prefixes = true
          warn(
            "the tokenizer puts no second space before a text that begins with one"
              + (prepend == .first ? ", and none after a special token" : "") + "; programs that run the GGUF file do")
        }
        if splits { try requireWordsAlone(known) }
      case .split(let pattern, .mergedWithPrevious, inverted: false) where pattern.source == " " && escapes: break
      case .split(let pattern, .mergedWithNext, inverted: false) where pattern.source == Self.escapedSpace && escapes:
        try requireWordsAlone(known)
      default: throw Self.inexpressible("it cuts texts (\(Self.name(step))) before it joins pieces")
      }
    }
    guard escapes else { throw Self.inexpressible("it does not write spaces as U+2581") }
    return prefixes
  }

  /// Texts are cut before every space, which makes no difference if no token goes beyond one.
  private mutating func requireWordsAlone(_ known: Vocabulary) throws(Problem) {
    let space = Array(Self.escapedSpace.utf8)
    let crossing = known.ordered.count { _, token in
      let text = Array(token.text.utf8)
      return known.added[token] == nil && text.indices.dropFirst().contains { text[$0...].starts(with: space) }
    }
    if crossing > 0 {
      warn(
        "the tokenizer cuts texts at spaces, and \(crossing) of its tokens go beyond one, which the GGUF file allows")
    }
  }

  // MARK: Names in messages

  static func steps(of normalizer: Normalizer?) -> [Normalizer] {
    switch normalizer {
    case nil: []
    case .sequence(let parts): parts.flatMap { steps(of: $0) }
    case let other?: [other]
    }
  }

  /// A case without what it holds.
  static func name(_ part: some Any) -> String {
    let text = "\(part)"
    return String(text.prefix { $0 != "(" })
  }
}
