public import EspalierBasics
internal import Synchronization

extension Problem.Code {
  public static let journalDamaged = Problem.Code("journal.damaged")
  public static let journalMismatch = Problem.Code("journal.mismatch")
}

/// What is known of a finished tensor: the digest of its bytes and of every stored tensor that was read for it.
public struct TensorRecord: Sendable, Hashable {
  public struct Input: Sendable, Hashable {
    public var file: String
    public var tensor: String
    public var digest: Digest

    public init(file: String, tensor: String, digest: Digest) {
      self.file = file
      self.tensor = tensor
      self.digest = digest
    }
  }

  public var tensor: String
  public var digest: Digest
  public var inputs: [Input]
  /// What the job found out on the way, for a report.
  public var figures: JSON?

  public init(tensor: String, digest: Digest, inputs: [Input], figures: JSON? = nil) {
    self.tensor = tensor
    self.digest = digest
    self.inputs = inputs
    self.figures = figures
  }

  var json: JSON {
    var json: JSON = [
      "tensor": .string(tensor), "digest": .string(digest.description),
      "inputs": .array(
        inputs.map {
          ["file": .string($0.file), "tensor": .string($0.tensor), "digest": .string($0.digest.description)]
        }),
    ]
    if let figures { json["figures"] = figures }
    return json
  }

  init?(_ json: JSON) {
    guard let tensor = json["tensor"]?.string, let digest = json["digest"]?.string.flatMap({ Digest($0) }),
      let inputs = json["inputs"]?.array
    else { return nil }
    self.tensor = tensor
    self.digest = digest
    figures = json["figures"]
    self.inputs = []
    for input in inputs {
      guard let file = input["file"]?.string, let name = input["tensor"]?.string,
        let digest = input["digest"]?.string.flatMap({ Digest($0) })
      else { return nil }
      self.inputs.append(Input(file: file, tensor: name, digest: digest))
    }
  }
}

/// The list of what is finished, one line a tensor, in a partial output folder.
///
/// Every line carries a digest chained over the lines before it, so that an edited or reordered journal is noticed.
/// A last line without its newline is what a crash leaves while writing; it is forgotten.
final class Journal: Sendable {
  static let fileName = "journal.jsonl"

  private struct Tail {
    var offset: Int
    var chain: Digest
  }

  private let file: File
  private let tail: Mutex<Tail>

  private init(file: File, tail: Tail) {
    self.file = file
    self.tail = Mutex(tail)
  }

  /// Begins a journal; `fingerprint` says what run it belongs to.
  static func create(at path: String, fingerprint: JSON) throws(Problem) -> Journal {
    let file = try File.writing(path, truncate: true)
    try requireLock(file)
    let journal = Journal(file: file, tail: Tail(offset: 0, chain: Digest(of: "")))
    try journal.append(fingerprint)
    try file.sync()
    return journal
  }

  /// Reads a journal and continues it; nil if there is none, or not even its beginning.
  static func resume(
    at path: String
  ) throws(Problem) -> (journal: Journal, fingerprint: JSON, records: [TensorRecord])? {
    guard FileSystem.isFile(path) else { return nil }
    let file = try File.writing(path)
    try requireLock(file)
    var lines: [JSON] = []
    var tail = Tail(offset: 0, chain: Digest(of: ""))
    let bytes = try file.read(try file.size(), at: 0)
    for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false).dropLast() {
      guard let json = try? JSON(parsing: line), let content = json["entry"],
        case let chain = link(content, after: tail.chain), json["chain"]?.string == chain.description
      else {
        throw Problem(
          .journalDamaged, "line \(lines.count + 1) of the journal is not what was written",
          remedy: "Start over with --force, or remove the partial folder.", file: path)
      }
      lines.append(content)
      tail = Tail(offset: tail.offset + line.count + 1, chain: chain)
    }
    guard let fingerprint = lines.first else { return nil }
    let records = lines.dropFirst().compactMap { TensorRecord($0) }
    guard records.count == lines.count - 1 else {
      throw Problem(
        .journalDamaged, "the journal has no beginning",
        remedy: "Start over with --force, or remove the partial folder.", file: path)
    }
    try file.resize(to: tail.offset)
    return (Journal(file: file, tail: tail), fingerprint, records)
  }

  /// Makes sure that no run is writing the output that a journal belongs to.
  static func requireUnused(at path: String) throws(Problem) {
    guard FileSystem.isFile(path) else { return }
    try requireLock(try File.writing(path))
  }

  private static func requireLock(_ file: File) throws(Problem) {
    guard file.tryLock() else {
      throw Problem(
        .fileLocked, "another run is writing this output", remedy: "Wait for it, or choose another output.",
        file: file.path)
    }
  }

  private static func link(_ entry: JSON, after chain: Digest) -> Digest {
    Digest(of: chain.description + entry.text())
  }

  func record(_ record: TensorRecord) throws(Problem) { try append(record.json) }

  private func append(_ entry: JSON) throws(Problem) {
    let result: Result<Void, Problem> = tail.withLock { tail in
      let chain = Self.link(entry, after: tail.chain)
      let line = JSON.object([("entry", entry), ("chain", .string(chain.description))]).text() + "\n"
      let bytes = Array(line.utf8)
      return Result { () throws(Problem) in
        try file.write(bytes, at: tail.offset)
        tail = Tail(offset: tail.offset + bytes.count, chain: chain)
      }
    }
    try result.get()
  }
}
