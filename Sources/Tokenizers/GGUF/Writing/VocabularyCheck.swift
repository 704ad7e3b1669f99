internal import EspalierBasics

// A vocabulary is compared with the tokenizer that it was made from.
extension VocabularyDraft {
  /// Texts in which tokenizers differ: spaces, digits, letters of many scripts, signs, line breaks.
  static let probes = [
    "Hello, world! It's what they'd call \"fine\" - I'LL say so.",
    "A sentence of plain words that goes on for a while, and then on.",
    "x = foo(bar[12], 'baz');\n\n\tif (x >= 100) {\n",
    "1 12 123 1234 12345 3.14 1,000,000", " one leading, two  inside and three at the end   ",
    "lines\nof\r\ntext\n\n\nand\ttabs\t\t.", "naïve café Grüße Ångström", "a\u{301} decomposed e\u{308}",
    "ПРИВЕТ Мир Ελλάδα",
    "中文，标点。日本語のテキスト", "한국어 문장", "مرحبا بالعالم", "हिन्दी में", "😀👍🏽 🇩🇪 👩‍👩‍👧", "camelCaseWORDMixed snake_case",
    "½ ² ٣٤ Ⅻ", "\u{A0}odd\u{2003}spaces\u{3000}", "https://example.org/path?query=1&other=2#part",
    "!!!???...,,, (a)[b]{c}",
    "thethethe aaaaaaaaaa ababababab", "\u{2581}escaped",
  ]

  /// - Throws: what ``Tokenizer/init(gguf:parsesSpecialTokens:)`` throws for the vocabulary.
  mutating func check() throws(Problem) {
    let written = try Tokenizer(gguf: vocabulary)
    guard var whole = tokenizer?.parts else { return }
    whole.truncation = nil
    whole.padding = nil
    let tokenizer = try Tokenizer(whole)
    try compareAddedTokens(tokenizer)
    let cleans = source.files.configuration?["clean_up_tokenization_spaces"]?.bool
    let willClean = try GGUFAssembly(vocabulary).cleansSpaces()
    if let cleans, cleans != willClean {
      warn(
        "decoding \(willClean ? "takes" : "does not take") spaces before punctuation away in programs that run the GGUF"
          + " file, other than by the tokenizer's own files")
    }
    var differing: [String] = []
    for text in Self.probes {
      let own = try? tokenizer.ids(text, addSpecialTokens: false)
      let ids = try? written.ids(text, addSpecialTokens: false)
      if own == nil || own != ids { differing.append(text) }
    }
    if let first = differing.first {
      warn(
        "\(differing.count) of \(Self.probes.count) probing texts get other ids from the GGUF file than from the"
          + " tokenizer's own files, for example \(quoted(ExactString(first)))")
    }
  }

  /// Names tokens that take white space with them, or want to be whole words, where the GGUF file has no way to say so.
  private mutating func compareAddedTokens(_ tokenizer: Tokenizer) throws(Problem) {
    let written = try GGUFAssembly(vocabulary).addedTokens(parsesSpecialTokens: true)
    let byID = Dictionary(written.map { ($0.id, $0) }) { first, _ in first }
    let differing = tokenizer.parts.addedTokens.filter { token in
      guard let other = byID[token.id] else { return false }
      return (token.leftStrip, token.rightStrip, token.singleWord)
        != (other.leftStrip, other.rightStrip, other.singleWord)
    }
    guard !differing.isEmpty else { return }
    let names = differing.prefix(5).map { quoted($0.content) }.joined(separator: ", ")
    warn(
      "added tokens are found otherwise beside white space or inside words (`lstrip`, `rstrip`, `single_word`):"
        + " \(names)\(differing.count > 5 ? " and \(differing.count - 5) more" : "")")
  }
}
