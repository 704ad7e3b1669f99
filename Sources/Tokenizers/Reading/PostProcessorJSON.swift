public import EspalierBasics

extension PostProcessor {
  /// Reads a `post_processor` of `tokenizer.json`.
  public init(json: JSON) throws(Problem) {
    let reader = try ComponentReader(json, role: "post-processor")
    switch reader.type {
    case "Sequence":
      var parts: [PostProcessor] = []
      for part in try reader.list("processors") { parts.append(try PostProcessor(json: part)) }
      self = .sequence(parts)
    case "BertProcessing":
      self = .bert(separator: try Self.token(reader, "sep"), begin: try Self.token(reader, "cls"))
    case "RobertaProcessing":
      self = .roberta(
        separator: try Self.token(reader, "sep"), begin: try Self.token(reader, "cls"),
        trimsOffsets: try reader.flag("trim_offsets", default: true),
        addsPrefixSpace: try reader.flag("add_prefix_space", default: true))
    case "ByteLevel":
      self = .byteLevel(
        trimsOffsets: try reader.flag("trim_offsets", default: true),
        addsPrefixSpace: try reader.flag("add_prefix_space", default: true))
    case "TemplateProcessing":
      let tokens = try Self.specialTokens(reader)
      self = .template(
        single: try Self.template(reader, "single", tokens), pair: try Self.template(reader, "pair", tokens))
    default: throw reader.unsupported
    }
  }

  /// `["</s>", 2]`
  private static func token(_ reader: ComponentReader, _ key: String) throws(Problem) -> SpecialToken {
    guard let token = reader.json[key]?[0]?.string, let id = reader.json[key]?[1]?.integer.flatMap(Int32.init(exactly:))
    else { throw reader.malformed(key) }
    return SpecialToken(token, id: id)
  }

  /// What the names in templates stand for.
  private static func specialTokens(_ reader: ComponentReader) throws(Problem) -> [ExactString: [SpecialToken]] {
    var result: [ExactString: [SpecialToken]] = [:]
    for (name, entry) in try reader.object("special_tokens").members?.pairs ?? [] {
      let ids = (entry["ids"]?.array ?? []).compactMap { $0.integer.flatMap(Int32.init(exactly:)) }
      let tokens = (entry["tokens"]?.array ?? []).compactMap(\.string)
      guard !ids.isEmpty, ids.count == tokens.count, ids.count == entry["ids"]?.array?.count else {
        throw reader.malformed("special_tokens")
      }
      result[ExactString(name)] = zip(ids, tokens).map { SpecialToken($1, id: $0) }
    }
    return result
  }

  private static func template(
    _ reader: ComponentReader, _ key: String, _ tokens: [ExactString: [SpecialToken]]
  ) throws(Problem) -> [TemplatePart] {
    var parts: [TemplatePart] = []
    for entry in try reader.list(key) {
      let content = entry["Sequence"] ?? entry["SpecialToken"]
      guard let name = content?["id"]?.string,
        let typeID = (content?["type_id"] ?? 0).integer.flatMap(Int32.init(exactly:))
      else { throw reader.malformed(key) }
      if entry["Sequence"] != nil {
        guard name == "A" || name == "B", key == "pair" || name == "A" else { throw reader.malformed(key) }
        parts.append(.text(name == "A" ? 0 : 1, typeID: typeID))
      } else {
        guard let special = tokens[ExactString(name)] else {
          throw Problem(
            .tokenizerMalformed,
            "the template names \(quoted(ExactString(name))), which is not among its special tokens")
        }
        parts.append(.special(special, typeID: typeID))
      }
    }
    return parts
  }
}
