internal import EspalierBasics

// WordPiece as a vocabulary of the kind `bert`.
extension VocabularyDraft {
  mutating func readWordPiece(_ json: JSON, _ steps: [PreTokenizer], _ known: Vocabulary) throws(Problem) {
    let normalizers = Self.steps(of: tokenizer?.parts.normalizer)
    guard normalizers.count == 1, case .bert(let cleaning) = normalizers[0], cleaning.cleansText else {
      throw Self.inexpressible("it does not clean texts as BERT does (BertNormalizer)")
    }
    guard steps.count == 1, case .bert = steps[0] else {
      throw Self.inexpressible("it does not cut texts into words as BERT does (BertPreTokenizer)")
    }
    let prefix = json["model"]?["continuing_subword_prefix"]?.string ?? "##"
    guard !prefix.isEmpty else { throw Self.inexpressible("nothing marks the tokens that continue a word") }
    let unknown = json["model"]?["unk_token"]?.string ?? "[UNK]"
    vocabulary.model = "bert"
    vocabulary.preTokenizer = source.preTokenizer ?? "default"
    try setTokens(count: known.size) { (id) throws(Problem) in
      guard let token = known.token(id) else { return nil }
      if let added = known.added[token] { return Self.added(added) }
      let text = Array(token.text.utf8)
      if token == ExactString(unknown) { return (text, .unknown) }
      if text.starts(with: prefix.utf8) { return (Array(text.dropFirst(prefix.utf8.count)), .normal) }
      return ([0xE2, 0x96, 0x81] + text, .normal)
    }
    vocabulary.lowercases = cleaning.lowercases
    vocabulary.stripsAccents = cleaning.stripsAccents
    vocabulary.ids[.unknown] = known.id(of: ExactString(unknown))
    if !cleaning.isolatesChinese {
      warn("the tokenizer does not take ideographs for words of their own; programs that run the GGUF file do")
    }
    warn(
      "programs that run the GGUF file clean texts otherwise than BERT in some scripts (Hangul, vowel signs of Indic"
        + " scripts), in control characters that are white space and in words of more than 100 characters")
  }
}
