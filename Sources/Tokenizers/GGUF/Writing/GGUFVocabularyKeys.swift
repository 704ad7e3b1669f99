/// The value of a key of a vocabulary, with the type that a GGUF file stores it in.
///
/// This room does not write GGUF files; who does translates these.
public enum GGUFVocabularyValue: Sendable, Hashable {
  case text(String)
  case truth(Bool)
  case u32(UInt32)
  /// An array of strings, as bytes.
  case strings([[UInt8]])
  case f32s([Float])
  case i32s([Int32])
  case u8s([UInt8])
}

extension GGUFVocabulary {
  /// The keys of a GGUF file that say what the vocabulary says, in the order in which llama.cpp's converter writes them.
  ///
  /// What is nil or empty has no key; ``modelName`` and ``architecture`` are not the vocabulary's to write.
  public var keys: [(key: String, value: GGUFVocabularyValue)] {
    let prefix = "tokenizer.ggml."
    var keys: [(key: String, value: GGUFVocabularyValue)] = []
    func set(_ name: String, _ value: GGUFVocabularyValue?) {
      if let value { keys.append((prefix + name, value)) }
    }
    set("model", .text(model))
    set("pre", preTokenizer.map { .text($0) })
    set("tokens", .strings(tokens))
    if !scores.isEmpty { set("scores", .f32s(scores)) }
    if !kinds.isEmpty { set("token_type", .i32s(kinds.map { Int32($0.rawValue) })) }
    if !merges.isEmpty { set("merges", .strings(merges)) }
    for role in Role.allCases {
      if let id = ids[role].flatMap({ UInt32(exactly: $0) }) { set(role.rawValue + "_token_id", .u32(id)) }
    }
    set("add_bos_token", addsBeginning.map { .truth($0) })
    set("add_eos_token", addsEnd.map { .truth($0) })
    set("add_sep_token", addsSeparator.map { .truth($0) })
    keys += templateKeys
    set("normalizer.lowercase", lowercases.map { .truth($0) })
    set("normalizer.strip_accents", stripsAccents.map { .truth($0) })
    set("add_space_prefix", addsSpacePrefix.map { .truth($0) })
    set("remove_extra_whitespaces", removesExtraSpaces.map { .truth($0) })
    if !characterMap.isEmpty { set("precompiled_charsmap", .u8s(characterMap)) }
    if let tokenizerJSON { keys.append(("tokenizer.huggingface.json", .text(tokenizerJSON))) }
    return keys
  }

  /// Named templates first, then their names, then the one without a name. Names are written in ASCII letters and
  /// digits, with `_` for all else.
  private var templateKeys: [(key: String, value: GGUFVocabularyValue)] {
    var keys: [(key: String, value: GGUFVocabularyValue)] = []
    var names: [[UInt8]] = []
    for (name, template) in chatTemplates.sorted(by: { $0.key < $1.key }) where name != "default" && !name.isEmpty {
      let plain = String(name.unicodeScalars.map { Self.isPlain($0) ? Character($0) : "_" })
      keys.append(("tokenizer.chat_template." + plain, .text(template)))
      names.append(Array(plain.utf8))
    }
    if !names.isEmpty { keys.append(("tokenizer.chat_templates", .strings(names))) }
    if let template = chatTemplates["default"] { keys.append(("tokenizer.chat_template", .text(template))) }
    return keys
  }

  private static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
    scalar.isASCII && (scalar.properties.isAlphabetic || ("0"..."9").contains(scalar))
  }
}
