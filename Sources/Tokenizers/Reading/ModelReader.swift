internal import EspalierBasics

/// Reads the `model` of a `tokenizer.json`.
enum ModelReader {
  static func model(_ json: JSON) throws(Problem) -> any SubwordModel {
    guard json.members != nil else { throw Problem(.tokenizerMalformed, "the model is no object") }
    switch try Vocabulary.kind(of: json) {
    case .bpe: return try bytePair(json)
    case .wordPiece:
      return try WordPieceModel(
        tokens: try tokens(json), unknownToken: try text(json, "unk_token") ?? "[UNK]",
        continuingPrefix: try text(json, "continuing_subword_prefix") ?? "##",
        maximumCharacters: try maximumCharacters(json))
    case .wordLevel:
      return WordLevelModel(tokens: try tokens(json), unknownToken: try text(json, "unk_token") ?? "<unk>")
    case .unigram: return try unigram(json)
    }
  }

  private static func malformed(_ key: String, _ value: JSON?) -> Problem {
    Problem(.tokenizerMalformed, "`\(key)` of the model is \((value ?? .null).text().prefix(200))")
  }

  private static func text(_ json: JSON, _ key: String) throws(Problem) -> String? {
    guard let value = json[key], !value.isNull else { return nil }
    guard let text = value.string else { throw malformed(key, value) }
    return text
  }

  private static func flag(_ json: JSON, _ key: String) throws(Problem) -> Bool {
    guard let value = json[key], !value.isNull else { return false }
    guard let flag = value.bool else { throw malformed(key, value) }
    return flag
  }

  private static func maximumCharacters(_ json: JSON) throws(Problem) -> Int {
    guard let value = json["max_input_chars_per_word"], !value.isNull else { return 100 }
    guard let count = value.integer, count >= 0 else { throw malformed("max_input_chars_per_word", value) }
    return count
  }

  private static func tokens(_ json: JSON) throws(Problem) -> TokenTable {
    guard let members = json["vocab"]?.members else {
      throw Problem(.tokenizerMalformed, "the vocabulary of the model is no object")
    }
    var tokens: [(token: String, id: Int)] = []
    tokens.reserveCapacity(members.count)
    for (token, value) in members.pairs {
      guard let id = value.integer else { throw malformed("vocab", value) }
      tokens.append((token, id))
    }
    return try TokenTable(tokens)
  }

  private static func bytePair(_ json: JSON) throws(Problem) -> BytePairModel {
    var options = BytePairModel.Options()
    options.unknownToken = try text(json, "unk_token")
    options.continuingPrefix = try text(json, "continuing_subword_prefix")
    options.endSuffix = try text(json, "end_of_word_suffix")
    options.fusesUnknown = try flag(json, "fuse_unk")
    options.byteFallback = try flag(json, "byte_fallback")
    options.ignoresMerges = try flag(json, "ignore_merges")
    if let dropout = json["dropout"], !dropout.isNull, dropout.number != 0 {
      throw Problem(
        .tokenizerUnsupported, "the model's dropout of \(dropout.text()) makes encoding random, which is not supported",
        remedy: "set `dropout` to null in tokenizer.json")
    }
    return try BytePairModel(tokens: try tokens(json), merges: try merges(json), options: options)
  }

  /// The merges by rank: pairs, or in the old spelling strings with a space.
  static func merges(_ json: JSON) throws(Problem) -> [(String, String)] {
    guard let list = json["merges"]?.array else { throw malformed("merges", json["merges"]) }
    var merges: [(String, String)] = []
    merges.reserveCapacity(list.count)
    for entry in list {
      if let left = entry[0]?.string, let right = entry[1]?.string, entry.array?.count == 2 {
        merges.append((left, right))
      } else if let line = entry.string {
        if line.utf8.starts(with: "#version".utf8) { continue }
        let halves = line.utf8.split(separator: 0x20, omittingEmptySubsequences: false)
        guard halves.count == 2 else { throw malformed("merges", entry) }
        merges.append((String(decoding: halves[0], as: UTF8.self), String(decoding: halves[1], as: UTF8.self)))
      } else {
        throw malformed("merges", entry)
      }
    }
    return merges
  }

  private static func unigram(_ json: JSON) throws(Problem) -> UnigramModel {
    guard let list = json["vocab"]?.array else {
      throw Problem(.tokenizerMalformed, "the vocabulary of the model is no list")
    }
    var pieces: [(piece: String, score: Double)] = []
    pieces.reserveCapacity(list.count)
    for (id, entry) in list.enumerated() {
      guard let piece = entry[0]?.string, let score = entry[1]?.number, score.isFinite else {
        throw Problem(
          .tokenizerMalformed, "entry \(id) of the vocabulary is no piece with a score: \(entry.text().prefix(200))")
      }
      pieces.append((piece, score))
    }
    let unknown = json["unk_id"] ?? .null
    guard unknown.isNull || unknown.integer != nil else { throw malformed("unk_id", unknown) }
    return try UnigramModel(
      pieces: pieces, unknownID: unknown.integer, byteFallback: try flag(json, "byte_fallback"))
  }
}
