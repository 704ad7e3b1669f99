public import EspalierBasics

extension Problem.Code {
  /// A file that is not one of statistics, or a damaged one.
  public static let statisticsFormat = Problem.Code("statistics.format")
  /// Statistics of another model, or of another run.
  public static let statisticsMismatch = Problem.Code("statistics.mismatch")
  /// An output that is there already, or an unfinished one.
  public static let statisticsExist = Problem.Code("statistics.exists")
}

/// What statistics were taken of, and how.
public struct StatisticsRecord: Sendable, Hashable {
  public struct Text: Sendable, Hashable {
    public var name: String
    public var digest: Digest

    public init(name: String, digest: Digest) {
      self.name = name
      self.digest = digest
    }
  }

  /// Nil where it is not known, as for what another program gathered.
  public var model: ModelIdentity?
  /// Of the tokenizer's file; nil if it lies in the weights or is not known.
  public var tokenizer: Digest?
  public var texts: [Text]
  /// Of the tokens that were run.
  public var tokens: Digest?
  /// How texts became tokens, in words.
  public var cut: String
  /// The arithmetic, as in `--mode`.
  public var mode: String
  /// The widest second moment that was kept whole.
  public var momentLimit: Int

  public init(
    model: ModelIdentity?, tokenizer: Digest? = nil, texts: [Text], tokens: Digest? = nil, cut: String, mode: String,
    momentLimit: Int
  ) {
    self.model = model
    self.tokenizer = tokenizer
    self.texts = texts
    self.tokens = tokens
    self.cut = cut
    self.mode = mode
    self.momentLimit = momentLimit
  }

  static let format = "espalier-statistics"
  static let version = "1"

  var metadata: [(String, String)] {
    var pairs = [("format", Self.format), ("version", Self.version)]
    if let model {
      pairs.append(("model", model.weights.description))
      pairs.append(("config", model.config.description))
    }
    if let tokenizer { pairs.append(("tokenizer", tokenizer.description)) }
    if let tokens { pairs.append(("tokens", tokens.description)) }
    let texts = texts.map { JSON.object([("name", .string($0.name)), ("xxh3", .string($0.digest.description))]) }
    pairs.append(("texts", JSON.array(texts).text()))
    return pairs + [("protocol", cut), ("mode", mode), ("moment_limit", "\(momentLimit)")]
  }

  init(metadata pairs: [(key: String, value: String)]) throws(Problem) {
    let values = Dictionary(pairs.map { (ExactString($0.key), $0.value) }, uniquingKeysWith: { first, _ in first })
    guard values["format"] == Self.format else {
      throw Problem(
        .statisticsFormat, "the file holds no statistics", remedy: "`espalier calibrate` writes files of statistics.")
    }
    guard values["version"] == Self.version else {
      throw Problem(
        .statisticsFormat,
        "the file is of version \(values["version"] ?? "(none)"), and this program reads \(Self.version)")
    }
    func digest(_ key: ExactString) throws(Problem) -> Digest? {
      guard let text = values[key] else { return nil }
      guard let digest = Digest(text) else {
        throw Problem(.statisticsFormat, "`\(key)` in the metadata is no digest: \(text)")
      }
      return digest
    }
    let (weights, config) = (try digest("model"), try digest("config"))
    if let weights, let config { model = ModelIdentity(weights: weights, config: config) } else { model = nil }
    tokenizer = try digest("tokenizer")
    tokens = try digest("tokens")
    texts = []
    let list = values["texts"].flatMap { try? JSON(parsing: Array($0.utf8)) }?.array ?? []
    for text in list {
      guard let name = text["name"]?.string, let digest = text["xxh3"]?.string.flatMap({ Digest($0) }) else {
        throw Problem(.statisticsFormat, "`texts` in the metadata does not name texts with their digests")
      }
      texts.append(Text(name: name, digest: digest))
    }
    cut = values["protocol"] ?? ""
    mode = values["mode"] ?? ""
    guard let limit = values["moment_limit"].flatMap({ Int($0) }), limit >= 0 else {
      throw Problem(.statisticsFormat, "the metadata lack `moment_limit`")
    }
    momentLimit = limit
  }
}

/// Tells models apart: digests of what they compute with.
public struct ModelIdentity: Sendable, Hashable {
  /// Over the digests of all weight files, in the order of their names.
  public var weights: Digest
  /// Of `config.json`.
  public var config: Digest

  public init(weights: Digest, config: Digest) {
    self.weights = weights
    self.config = config
  }

  /// Reads all weight files.
  ///
  /// - Parameter workers: hash chunks of files.
  public init(of checkpoint: any Checkpoint, workers: WorkerPool) throws(Problem) {
    var text = ""
    // By name and not by folder, as files are unpacked: a model that was moved or packed is the same.
    let files = checkpoint.weightFiles.sorted { a, b in
      let names = (Array(FileSystem.lastComponent(of: a).utf8), Array(FileSystem.lastComponent(of: b).utf8))
      return names.0 == names.1
        ? Array(a.utf8).lexicographicallyPrecedes(Array(b.utf8)) : names.0.lexicographicallyPrecedes(names.1)
    }
    for path in files {
      let file = try WeightFile.open(path)
      let size = try file.size()
      let digest = ChunkedDigest(byteCount: size)
      let chunk = ChunkedDigest.chunkBytes
      try workers.forEach((size + chunk - 1) / chunk) { (index) throws(Problem) in
        let bytes = try file.read(min(chunk, size - index * chunk), at: index * chunk)
        bytes.withUnsafeBytes {
          var feed = ChunkedDigest.Feed(into: digest, at: index * chunk)
          feed.update($0)
        }
      }
      text += "\(WeightFile.name(FileSystem.lastComponent(of: path))) \(digest.value())\n"
    }
    weights = Digest(of: text)
    config = Digest(of: checkpoint.config?.text() ?? "")
  }

  /// What differs in another model, in words; nil if nothing does.
  public func difference(from other: ModelIdentity) -> String? {
    var parts: [String] = []
    if weights != other.weights { parts.append("weights (\(weights) against \(other.weights))") }
    if config != other.config { parts.append("config (\(config) against \(other.config))") }
    return parts.isEmpty ? nil : parts.joined(separator: " and ")
  }
}
