internal import EspalierBasics

/// How a byte-pair vocabulary of a GGUF file cuts text, by the name in `tokenizer.ggml.pre`, as llama.cpp does it.
///
/// The expressions are those of the models' own `tokenizer.json` files as far as llama.cpp follows them; where it
/// treats all letters alike, so do these. One after the other cuts what the ones before left.
struct GGUFPreTokenizer: Sendable {
  /// How tokens are spelt.
  enum Spelling: Sendable, Hashable {
    /// In the byte-level alphabet.
    case byteLevel
    /// As text, with U+2581 for spaces, and `<0x..>` for bytes.
    case escapedSpaces
  }

  var patterns: [String]
  /// A word that is a token is not looked into.
  var ignoresMerges = false
  /// If the file does not say.
  var addsBeginning = false
  /// Spaces before punctuation go away in decoded text.
  var cleansSpaces = true
  var spelling = Spelling.byteLevel
  /// Line breaks in a row are a token if there is such a one.
  var keepsLineBreaks = false

  // MARK: Parts of expressions

  private static let contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
  /// Of ASCII alone, for expressions without a scanner.
  private static let plainContraction = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
  static let gpt2 = #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
  private static let space = #"|\s*[\r\n]+|\s+(?!\S)|\s+"#
  private static let word = #"[^\r\n\p{L}\p{N}]?\p{L}+"#
  private static let others = #"| ?[^\s\p{L}\p{N}]+[\r\n]*"#
  private static let ideographs = #"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+"#
  /// What DeepSeek's tokenizers take for Chinese, Japanese and Korean; llama.cpp leaves white space out of it.
  private static let eastAsian = #"(?:(?!\s)[\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}])+"#

  private static func cl100k(digits: String, _ contraction: String = contraction) -> String {
    contraction + "|" + word + "|" + digits + others + space
  }

  /// Words that begin anew at ASCII capitals, of letters that `letter` tells.
  private static func cased(_ letter: String, contraction: String, digits: String) -> String {
    let (upper, lower) = ("(?:(?=\(letter))[^a-z])", "(?:(?=\(letter))[^A-Z])")
    let sign = #"[^\r\n\p{L}\p{N}]?"#
    return sign + upper + "*" + lower + "+" + contraction + "|" + sign + upper + "+" + lower + "*" + contraction + "|"
      + digits + #"| ?[^\s\p{L}\p{N}]+[\r\n/]*"# + space
  }

  /// DeepSeek-V3's last expression: words with a sign of ASCII, words, runs of signs.
  private static func signedWords(_ signs: String) -> String {
    ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"## + signs
  }

  /// Letters of the scripts with case, as DeepSeek's first tokenizer lists them.
  static let casedLetters =
    "A-Za-z\u{B5}\u{C0}-\u{D6}\u{D8}-\u{F6}\u{F8}-\u{1BA}\u{1BC}-\u{1BF}\u{1C4}-\u{293}\u{295}-\u{2AF}\u{370}-\u{373}"
    + "\u{376}\u{377}\u{37B}-\u{37D}\u{37F}\u{386}\u{388}-\u{38A}\u{38C}\u{38E}-\u{3A1}\u{3A3}-\u{3F5}"
    + "\u{3F7}-\u{481}\u{48A}-\u{52F}\u{531}-\u{556}\u{10A0}-\u{10C5}\u{13A0}-\u{13F5}\u{13F8}-\u{13FD}"
    + "\u{1C90}-\u{1CBA}\u{1CBD}-\u{1CBF}\u{1D00}-\u{1D2B}\u{1D6B}-\u{1D77}\u{1D79}-\u{1D9A}\u{1E00}-\u{1F15}"
    + "\u{1F18}-\u{1F1D}\u{1F20}-\u{1F45}\u{1F48}-\u{1F4D}\u{1F50}-\u{1F57}\u{1F59}\u{1F5B}\u{1F5D}"
    + "\u{1F5F}-\u{1F7D}\u{1F80}-\u{1FB4}\u{1FB6}-\u{1FBC}\u{1FBE}\u{1FC2}-\u{1FC4}\u{1FC6}-\u{1FCC}"
    + "\u{1FD0}-\u{1FD3}\u{1FD6}-\u{1FDB}\u{1FE0}-\u{1FEC}\u{1FF2}-\u{1FF4}\u{1FF6}-\u{1FFC}\u{2102}\u{2107}"
    + "\u{210A}-\u{2113}\u{2115}\u{2119}-\u{211D}\u{2124}\u{2126}\u{2128}\u{212A}-\u{212D}\u{212F}-\u{2134}"
    + "\u{2139}\u{213C}-\u{213F}\u{2145}-\u{2149}\u{214E}\u{2183}\u{2184}\u{2C00}-\u{2C7B}\u{2C7E}-\u{2CE4}"
    + "\u{2CEB}-\u{2CEE}\u{2CF2}\u{2CF3}\u{A640}-\u{A66D}\u{A680}-\u{A69B}\u{A722}-\u{A76F}\u{A771}-\u{A787}"
    + "\u{A78B}-\u{A78E}\u{AB70}-\u{ABBF}\u{FB00}-\u{FB06}\u{FB13}-\u{FB17}\u{FF21}-\u{FF3A}\u{FF41}-\u{FF5A}"
    + "\u{10400}-\u{1044F}\u{104B0}-\u{104D3}\u{104D8}-\u{104FB}\u{10C80}-\u{10CB2}\u{10CC0}-\u{10CF2}"
    + "\u{118A0}-\u{118DF}\u{1E900}-\u{1E943}"

  // MARK: By name

  static let table: [(names: [String], preTokenizer: GGUFPreTokenizer)] = [
    (
      ["default"],
      GGUFPreTokenizer(patterns: [#"[\p{P}\$\+<=>\^~\|]+"#, gpt2, #"\p{N}+"#, "[0-9][0-9][0-9]"])
    ),
    (
      ["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
      GGUFPreTokenizer(patterns: [cl100k(digits: #"\p{N}{1,3}"#)], ignoresMerges: true, addsBeginning: true)
    ),
    (["dbrx", "smaug-bpe", "chatglm-bpe"], GGUFPreTokenizer(patterns: [cl100k(digits: #"\p{N}{1,3}"#)])),
    (["glm4", "glm5"], GGUFPreTokenizer(patterns: [cl100k(digits: #"\p{N}{1,3}"#)], ignoresMerges: true)),
    (
      ["minicpm5"],
      GGUFPreTokenizer(
        patterns: [#"\p{N}{1,3}"#, cl100k(digits: #"\p{N}+"#, plainContraction)], ignoresMerges: true)
    ),
    (["stablelm2", "megrez"], GGUFPreTokenizer(patterns: [cl100k(digits: #"\p{N}"#)])),
    (
      ["qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "hunyuan", "solar-open", "grok-2"],
      GGUFPreTokenizer(patterns: [cl100k(digits: #"\p{N}"#)], cleansSpaces: false)
    ),
    (
      ["laguna"],
      GGUFPreTokenizer(patterns: [#"[^\n]+|[\n]+"#, cl100k(digits: #"\p{N}"#)], cleansSpaces: false)
    ),
    (
      ["qwen35"],
      GGUFPreTokenizer(
        patterns: [
          plainContraction + #"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*"# + space
        ], cleansSpaces: false)
    ),
    (["ufakzeka"], GGUFPreTokenizer(patterns: [word + #"|\p{N}"# + others + space], cleansSpaces: false)),
    (
      ["seed-coder"],
      GGUFPreTokenizer(
        patterns: [plainContraction + "|" + word + #"|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+"# + space], cleansSpaces: false)
    ),
    (
      ["bailingmoe", "bailingmoe2", "llada-moe"],
      GGUFPreTokenizer(
        patterns: [
          "'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|" + word + #"|\p{N}"# + others + #"|\s*[\r\n]|\s+(?!\S)|\s+"#
        ], cleansSpaces: false)
    ),
    (
      ["exaone-moe"],
      GGUFPreTokenizer(patterns: [
        plainContraction + #"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"#
          + #"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"#
      ])
    ),
    (
      ["jais-2"],
      GGUFPreTokenizer(patterns: [
        plainContraction + "|" + word + #"|\p{N}{1,3}"# + others + #"|\s*[\r\n]+|\s{512}(?!\S)|\s{256}(?!\S)"#
          + #"|\s{128}(?!\S)|\s{64}(?!\S)|\s{32}(?!\S)|\s{16}(?!\S)|\s{8}(?!\S)|\s{4}(?!\S)|\s{1,2}(?!\S)|\s{1}"#
      ])
    ),
    (
      ["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"],
      GGUFPreTokenizer(
        patterns: [cased(#"\p{L}"#, contraction: plainContraction + "?", digits: #"\p{N}{1,3}"#)], cleansSpaces: false)
    ),
    (
      ["granite-embed-multi-97m"],
      GGUFPreTokenizer(
        patterns: [cased(#"[\p{L}\p{M}]"#, contraction: plainContraction + "?", digits: #"\p{N}{1,3}"#)],
        ignoresMerges: true, cleansSpaces: false)
    ),
    (
      ["tekken"],
      GGUFPreTokenizer(
        patterns: [cased(#"\p{L}"#, contraction: "", digits: #"\p{N}"#)], ignoresMerges: true, addsBeginning: true,
        cleansSpaces: false)
    ),
    (
      [
        "gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum",
        "modern-bert", "jina-v1-en", "jina-v2-code", "roberta-bpe", "mpt", "olmo", "jais", "exaone4",
      ], GGUFPreTokenizer(patterns: [gpt2])
    ),
    (["trillion", "granite-docling"], GGUFPreTokenizer(patterns: [gpt2], cleansSpaces: false)),
    (
      ["starcoder", "refact", "codeshell", "exaone", "minerva-7b", "mellum2"],
      GGUFPreTokenizer(patterns: [#"\p{N}"#, gpt2])
    ),
    (["smollm", "command-r"], GGUFPreTokenizer(patterns: [#"\p{N}"#, gpt2], cleansSpaces: false)),
    (["falcon"], GGUFPreTokenizer(patterns: [#"[\p{P}\$\+<=>\^~\|`]+"#, gpt2, "[0-9][0-9][0-9]"])),
    (
      ["deepseek-llm"],
      GGUFPreTokenizer(
        patterns: [
          "[\r\n]", #"\s?["# + casedLetters + "]+",
          #"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3001}-\x{3002}]+"#, #"\s+\z"#, eastAsian,
          #"\p{N}+"#,
        ], cleansSpaces: false)
    ),
    (
      ["deepseek-coder"],
      GGUFPreTokenizer(
        patterns: ["[\r\n]", #"\s?\p{L}+"#, #"\s?\p{P}+"#, eastAsian, #"\p{N}"#], cleansSpaces: false)
    ),
    (
      ["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"],
      GGUFPreTokenizer(
        patterns: [#"\p{N}{1,3}"#, ideographs, signedWords(#"| ?[\p{P}\p{S}]+[\r\n]*"# + space)], cleansSpaces: false)
    ),
    (
      ["spark2_5"],
      GGUFPreTokenizer(
        patterns: [
          #"\p{N}{1,3}"#, ideographs, signedWords(#"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+"#), #"\p{N}"#,
        ], cleansSpaces: false)
    ),
    (
      ["youtu"],
      GGUFPreTokenizer(
        patterns: [
          #"[\x{AC00}-\x{D7A3}\x{3131}-\x{318E}]+"#
            + #"|[\x{FF01}\x{2026}\x{201C}\x{201D}\x{2018}\x{2019}\x{2014}\x{FF1A}\x{FF1B}\x{FF0C}\x{3001}-\x{303F}"#
            + #"\x{FE30}-\x{FE4F}]+|[\x{3105}-\x{312F}]+|"# + ideographs,
          #"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+"# + plainContraction + #"?|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*"# + space,
        ], ignoresMerges: true, cleansSpaces: false)
    ),
    (["bloom", "gpt3-finnish"], GGUFPreTokenizer(patterns: [bloom])),
    (["poro-chat"], GGUFPreTokenizer(patterns: [bloom], cleansSpaces: false)),
    (["viking"], GGUFPreTokenizer(patterns: [bloom, #"\p{N}"#], cleansSpaces: false)),
    (
      ["chameleon"],
      GGUFPreTokenizer(
        patterns: [
          "<sentinel:[0-9]+>", "(?:IMGIMG)[A-I]{1,4}Z", #"[\t\n]|    |  "#, #"\p{N}"#, #"[\p{P}!-/:-@\[-`{-~]"#, gpt2,
        ], addsBeginning: true, cleansSpaces: false)
    ),
    (
      ["gemma4", "granite-embed-multi-311m"],
      GGUFPreTokenizer(
        patterns: [#"[^\n]+|[\n]+"#], addsBeginning: true, spelling: .escapedSpaces, keepsLineBreaks: true)
    ),
    (
      ["sarvam-moe"],
      GGUFPreTokenizer(patterns: [#"[^\n]+|[\n]+"#], cleansSpaces: false, spelling: .escapedSpaces)
    ),
  ]

  /// Runs of anything but white space and some punctuation.
  private static let bloom =
    #" ?[^\s(|.,!?\x{2026}\x{3002}\x{FF0C}\x{3001}\x{0964}\x{06D4}\x{060C})]+"#

  /// Vocabularies that have no beginning unless the file names one.
  static func hasNoBeginning(_ name: String?) -> Bool {
    name.map { ["chatglm-bpe", "glm4", "glm5"].contains($0) } ?? false
  }

  private static let byName: [String: GGUFPreTokenizer] = {
    var byName: [String: GGUFPreTokenizer] = [:]
    for (names, preTokenizer) in table { for name in names { byName[name] = preTokenizer } }
    return byName
  }()

  /// - Parameter name: as in `tokenizer.ggml.pre`; nil is `default`.
  /// - Throws: ``Problem/Code/tokenizerUnsupported`` if the name is not known.
  static func named(_ name: String?) throws(Problem) -> GGUFPreTokenizer {
    let wanted = name.flatMap { $0.isEmpty ? nil : $0 } ?? "default"
    guard let preTokenizer = byName[wanted] else {
      throw Problem(
        .tokenizerUnsupported, "the pre-tokenizer \"\(wanted)\" (tokenizer.ggml.pre) of the GGUF file is not supported",
        remedy: "Known are \(byName.keys.sorted().joined(separator: ", ")).")
    }
    return preTokenizer
  }

  func preTokenizer() throws(Problem) -> PreTokenizer {
    var steps: [PreTokenizer] = []
    for pattern in patterns {
      steps.append(.split(try Pattern(regularExpression: pattern), .isolated, inverted: false))
    }
    if spelling == .byteLevel { steps.append(.byteLevel(addPrefixSpace: false, usesPattern: false)) }
    return .sequence(steps)
  }
}
