public import EspalierBasics

extension Tokenizer {
  /// Reads a tokenizer from a model folder, or from a file like its `tokenizer.json`.
  ///
  /// - Throws: a ``Problem`` that names the file: it is missing, is no JSON, or as in ``init(json:)``.
  public init(at path: String) throws(Problem) {
    let file = FileSystem.isFolder(path) ? FileSystem.join(path, "tokenizer.json") : path
    guard FileSystem.isFile(file) else {
      throw Problem(
        .tokenizerMissing, "there is no tokenizer.json at \(path)",
        remedy: "save the tokenizer once with transformers, which writes tokenizer.json")
    }
    do throws(Problem) {
      try self.init(json: JSON(parsing: try FileSystem.read(file)))
    } catch {
      throw error.at(file: file)
    }
  }

  /// Reads a `tokenizer.json`.
  ///
  /// What is chosen by `type` is chosen by it alone. Old spellings are read: merges as strings with a space, metaspaces
  /// with `add_prefix_space`, models without a type.
  ///
  /// - Throws: ``Problem/Code/tokenizerUnsupported`` with the name of a component or option that is not supported;
  ///   ``Problem/Code/tokenizerMalformed`` if something is not as it should be; ``Problem/Code/tokenizerPattern`` for
  ///   a regular expression; ``Problem/Code/tokenizerDuplicate`` for ids and tokens that are there twice.
  public init(json: JSON) throws(Problem) {
    guard json.members != nil else { throw Problem(.tokenizerMalformed, "the tokenizer is no JSON object") }
    if let version = json["version"], let text = version.string, text != "1.0" {
      throw Problem(.tokenizerUnsupported, "the tokenizer's version is \(text); version 1.0 is read")
    }
    guard let model = json["model"] else { throw Problem(.tokenizerMalformed, "the tokenizer has no model") }
    var parts = Parts(model: try ModelReader.model(model))
    parts.normalizer = try Self.part(json["normalizer"]) { (json) throws(Problem) in try Normalizer(json: json) }
    parts.preTokenizer = try Self.part(json["pre_tokenizer"]) { (json) throws(Problem) in try PreTokenizer(json: json) }
    parts.postProcessor = try Self.part(json["post_processor"]) { (json) throws(Problem) in
      try PostProcessor(json: json)
    }
    parts.decoder = try Self.part(json["decoder"]) { (json) throws(Problem) in try Decoder(json: json) }
    parts.truncation = try Self.part(json["truncation"]) { (json) throws(Problem) in try Truncation(json: json) }
    parts.padding = try Self.part(json["padding"]) { (json) throws(Problem) in try Padding(json: json) }
    parts.addedTokens = try Self.addedTokens(json["added_tokens"], parts.model.tokens)
    try self.init(parts)
  }

  /// A part that may be missing or null.
  private static func part<T>(_ json: JSON?, _ read: (JSON) throws(Problem) -> T) throws(Problem) -> T? {
    guard let json, !json.isNull else { return nil }
    return try read(json)
  }

  /// Added tokens with the ids that the reference gives them: the model's if it knows the token, else the next free
  /// ones in order, whatever the file says.
  private static func addedTokens(_ json: JSON?, _ tokens: TokenTable) throws(Problem) -> [AddedToken] {
    guard let json, !json.isNull else { return [] }
    guard let entries = json.array else { throw Problem(.tokenizerMalformed, "added_tokens is no list") }
    var result: [AddedToken] = []
    var known: [ExactString: Int] = [:]
    var next = tokens.count
    for entry in entries {
      guard var token = AddedToken(entry) else {
        throw Problem(.tokenizerMalformed, "an entry of added_tokens has no id or content: \(entry.text())")
      }
      guard !token.content.text.isEmpty else { continue }
      if let id = known[token.content] ?? tokens.id(of: token.content.text).map(Int.init) {
        token.id = id
      } else {
        token.id = next
        next += 1
      }
      known[token.content] = token.id
      result.append(token)
    }
    return result
  }
}

/// Looks into the object of one component; messages name it.
struct ComponentReader {
  let json: JSON
  /// `pre-tokenizer`, `decoder` ...
  let role: String
  let type: String

  init(_ json: JSON, role: String) throws(Problem) {
    guard let type = json["type"]?.string else {
      throw Problem(.tokenizerMalformed, "a \(role) has no type: \(json.text().prefix(200))")
    }
    self.json = json
    self.role = role
    self.type = type
  }

  var unsupported: Problem { Problem(.tokenizerUnsupported, "the \(role) \(type) is not supported") }

  func malformed(_ key: String) -> Problem {
    Problem(.tokenizerMalformed, "`\(key)` of the \(role) \(type) is \(json[key]?.text().prefix(200) ?? "missing")")
  }

  func flag(_ key: String, default standard: Bool) throws(Problem) -> Bool {
    guard let value = json[key], !value.isNull else { return standard }
    guard let flag = value.bool else { throw malformed(key) }
    return flag
  }

  func text(_ key: String, default standard: String? = nil) throws(Problem) -> String {
    if let text = json[key]?.string { return text }
    guard let standard, json[key] == nil || json[key]?.isNull == true else { throw malformed(key) }
    return standard
  }

  func count(_ key: String, default standard: Int? = nil) throws(Problem) -> Int {
    if let count = json[key]?.integer, count >= 0 { return count }
    guard let standard, json[key] == nil || json[key]?.isNull == true else { throw malformed(key) }
    return standard
  }

  func scalar(_ key: String) throws(Problem) -> Unicode.Scalar {
    let scalars = try text(key).unicodeScalars
    guard scalars.count == 1, let scalar = scalars.first else { throw malformed(key) }
    return scalar
  }

  func list(_ key: String) throws(Problem) -> [JSON] {
    guard let list = json[key]?.array else { throw malformed(key) }
    return list
  }

  func object(_ key: String) throws(Problem) -> JSON {
    guard let value = json[key], value.members != nil else { throw malformed(key) }
    return value
  }
}
