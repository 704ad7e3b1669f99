import EspalierBasics

// Changes to a tokenizer's vocabulary, made in all the files that list it.

extension TokenizerFiles {
  /// Lists `tokens` as added ones. Their ids are free, or their own already where the tokenizer's model has them.
  mutating func add(_ tokens: [AddedToken]) {
    guard !tokens.isEmpty else { return }
    if let list = tokenizer?["added_tokens"]?.array ?? (tokenizer == nil ? nil : []) {
      let all = list + tokens.map(\.listEntry)
      tokenizer?["added_tokens"] = .array(all.sorted { ($0["id"]?.integer ?? 0) < ($1["id"]?.integer ?? 0) })
    }
    if var decoder = configuration?["added_tokens_decoder"]?.members {
      for token in tokens { decoder[String(token.id)] = token.decoderEntry }
      configuration?["added_tokens_decoder"] = .object(decoder)
    }
    if addedTokens != nil || needsAddedTokensFile {
      var mapping = addedTokens?.members ?? JSON.Members()
      for token in tokens { mapping[token.content.text] = .number(token.id) }
      addedTokens = .object(mapping)
    }
  }

  /// Without `tokenizer.json`, and for the tokenizers in Python that read SentencePiece's file instead of it, what is
  /// added is found in `added_tokens.json` alone.
  private var needsAddedTokensFile: Bool { tokenizer == nil || contents["tokenizer.model"] != nil }

  /// Takes out every token whose id is `limit` or more, and every merge that uses or makes one.
  mutating func removeTokens(from limit: Int) {
    let beyond = { (id: Int?) in (id ?? 0) >= limit }
    if let list = tokenizer?["added_tokens"]?.array {
      tokenizer?["added_tokens"] = .array(list.filter { !beyond($0["id"]?.integer) })
    }
    if let model = tokenizer?["model"] { tokenizer?["model"] = model.removingTokens(from: limit) }
    if let decoder = configuration?["added_tokens_decoder"]?.members {
      configuration?["added_tokens_decoder"] = .object(decoder.filter { key, _ in !beyond(Int(key)) })
    }
    if let mapping = addedTokens?.members {
      addedTokens = .object(mapping.filter { _, id in !beyond(id.integer) })
    }
  }
}

extension JSON.Members {
  fileprivate func filter(_ isKept: (String, JSON) -> Bool) -> JSON.Members {
    var kept = JSON.Members()
    for (key, value) in pairs where isKept(key, value) { kept[key] = value }
    return kept
  }
}

extension JSON {
  /// The `model` of a `tokenizer.json` without the tokens whose id is `limit` or more.
  fileprivate func removingTokens(from limit: Int) -> JSON {
    var model = self
    if let pieces = self["vocab"]?.array {
      model["vocab"] = .array(Array(pieces.prefix(limit)))
    } else if let vocabulary = self["vocab"]?.members {
      let kept = vocabulary.filter { _, id in (id.integer ?? 0) < limit }
      guard kept.count < vocabulary.count else { return self }
      model["vocab"] = .object(kept)
      if let merges = self["merges"]?.array {
        let prefix = self["continuing_subword_prefix"]?.string ?? ""
        model["merges"] = .array(merges.filter { $0.isMerge(within: kept, prefix: prefix) })
      }
    }
    return model
  }

  /// Whether a merge, `"a b"` or `["a", "b"]`, has both its parts and its product in the vocabulary. The product is
  /// the left part and the right one without the prefix that marks the inside of a word.
  private func isMerge(within vocabulary: Members, prefix: String) -> Bool {
    let parts =
      string?.split(separator: " ", omittingEmptySubsequences: false).map(String.init)
      ?? array?.compactMap(\.string) ?? []
    guard parts.count == 2 else { return false }
    let tail = String(parts[1].unicodeScalars.dropFirst(prefix.unicodeScalars.count))
    return vocabulary[parts[0]] != nil && vocabulary[parts[1]] != nil && vocabulary[parts[0] + tail] != nil
  }
}
