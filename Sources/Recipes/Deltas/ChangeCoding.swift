internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNumerics

/// What a tensor's change was coded to: parts in a scratch file, and all else as a journal keeps it.
protocol CodedChange: Sendable {
  var parts: [StoredTensor] { get }
  var digests: [Digest] { get }
  var record: JSON { get }

  /// - Parameter parts: by their names.
  /// - Throws: if the record is none.
  init(_ name: String, _ record: JSON, parts: [ExactString: StoredTensor]) throws(Problem)
}

/// A file of coded changes on its way: coded as many tensors at once as threads and memory allow, noted as they are
/// finished, and put together when all are.
struct ChangeCoding {
  let changes: ModelChanges
  let output: PreparedOutput
  let scratch: TensorScratch
  let pool: WorkerPool
  private let memory: Int
  private let listener: any ProgressListener

  /// - Parameters:
  ///   - made: all that the bytes depend on beside the inputs.
  ///   - isOurs: whether a file may be replaced.
  init(
    _ changes: ModelChanges, to output: String, made: [(String, JSON)], policy: OutputFolder.Policy, threads: Int,
    memory: Int, isOurs: @escaping (String) -> Bool, listener: any ProgressListener
  ) throws(Problem) {
    let fingerprint = JSON.object(
      made + [
        ("version", .string(MergeRun.version)), ("base", .string(changes.baseName)),
        ("models", .array(changes.names.map { .string($0) })),
      ] + (try InputIdentities.members(changes.inputs)))
    self.changes = changes
    self.output = try PreparedOutput(at: output, fingerprint: fingerprint, policy: policy, isOurs: isOurs)
    let ends = self.output.finished.values.flatMap {
      Self.parts($0.figures, in: "").values.map { $0.offset + $0.byteCount }
    }
    scratch = try TensorScratch(in: self.output.folder, after: ((ends.max() ?? 0) + 63) / 64 * 64)
    pool = WorkerPool(threads: threads)
    (self.memory, self.listener) = (memory, listener)
  }

  // MARK: - Coding

  /// Codes all targets; those that did not change are left out.
  ///
  /// - Parameters:
  ///   - pass: tells several codings of one target apart.
  ///   - bytes: what coding a target takes.
  ///   - code: gives nil if nothing changed.
  func coded<Change: CodedChange>(
    as pass: String, needing bytes: (ModelChanges.Target) -> Int,
    coding code: ([DeltaSource]) throws(Problem) -> Change?
  ) throws(Problem) -> [Change] {
    let ledger = MemoryLedger(capacity: max(0, memory - changes.fixedBytes))
    let files = FilePool()
    let targets = changes.targets
    let results: [Change?] = try pool.map(targets.count) { (index) throws(Problem) in
      let target = targets[index]
      do throws(Problem) {
        return try ledger.withReservation(of: bytes(target)) { () throws(Problem) -> Change? in
          defer { listener.receive(.advanced(bytes: 4 * target.elementCount)) }
          guard target.elementCount > 0 else { return nil }
          let key = "\(pass) \(target.name)"
          if let earlier: Change? = try earlier(key, target.name) { return earlier }
          let sources = try target.sources(files: files)
          guard target.isFloat else {
            for source in sources { try source.requireNothing() }
            return nil
          }
          let change = try code(sources)
          try note(change, key)
          return change
        }
      } catch { throw error.at(tensor: target.name) }
    }
    return results.compactMap { $0 }
  }

  /// Puts the file together, codes it, compares it with what it was made of, and gives it its name.
  ///
  /// - Returns: its size.
  func finish(_ parts: [StoredTensor], metadata: [(String, String)]) throws(Problem) -> Int {
    let (plain, whole) = ("\(output.folder)/plain.safetensors", "\(output.folder)/whole")
    _ = try scratch.assemble(Self.sorted(parts), metadata: metadata, to: plain)
    let source = try File.reading(plain)
    let coded = try ArchiveWriter(codingAlike: source, to: whole, workers: pool).write(
      resume: false, fingerprint: Digest(of: plain))
    try ArchiveReading.compare(try ArchivedFile(at: whole), with: source, workers: pool) { _ in }
    try InputIdentities.requireUnchanged(changes.inputs, since: output.fingerprint)
    try output.commit(file: "whole")
    return coded.byteCount
  }

  /// Parts that are alike beside each other, so that they are coded together; the widest numbers first, which keeps their
  /// places multiples of their width.
  private static func sorted(_ parts: [StoredTensor]) -> [StoredTensor] {
    func key(_ part: StoredTensor) -> (Int, String) {
      (-part.elementType.byteWidth, part.elementType.rawValue + String(part.name.split(separator: ".").last ?? ""))
    }
    return parts.enumerated().sorted { a, b in
      key(a.element) == key(b.element) ? a.offset < b.offset : key(a.element) < key(b.element)
    }.map(\.element)
  }

  // MARK: - Journal

  private func note(_ change: (some CodedChange)?, _ key: String) throws(Problem) {
    let digests = change?.digests ?? []
    var figures: JSON = [
      "parts": .array(
        (change?.parts ?? []).map { part in
          [
            "name": .string(part.name), "dtype": .string(part.elementType.rawValue),
            "shape": .array(part.shape.map { .number($0) }), "offset": .number(part.offset),
          ]
        })
    ]
    if let change { figures["record"] = change.record }
    try output.note(
      TensorRecord(
        tensor: key, digest: Digest(of: digests.map(\.description).joined()), inputs: [], figures: figures))
  }

  /// What an earlier run noted, if the bytes are still those: nil if there is nothing, nil within if nothing changed.
  private func earlier<Change: CodedChange>(_ key: String, _ name: String) throws(Problem) -> Change?? {
    guard let noted = output.finished[ExactString(key)] else { return nil }
    guard let record = noted.figures?["record"] else { return .some(nil) }
    let parts = Self.parts(noted.figures, in: scratch.path)
    guard let change = try? Change(name, record, parts: parts) else { return nil }
    for (part, digest) in zip(change.parts, change.digests) {
      guard let found = try? scratch.measure(part).digest, found == digest else { return nil }
    }
    return .some(change)
  }

  private static func parts(_ figures: JSON?, in file: String) -> [ExactString: StoredTensor] {
    var parts: [ExactString: StoredTensor] = [:]
    for json in figures?["parts"]?.array ?? [] {
      guard let name = json["name"]?.string, let offset = json["offset"]?.integer,
        let type = json["dtype"]?.string.flatMap({ ElementType(rawValue: $0) }),
        let shape = json["shape"]?.array?.compactMap(\.integer), let count = shape.checkedProduct
      else { continue }
      parts[ExactString(name)] = StoredTensor(
        name: name, elementType: type, shape: shape, file: file, offset: offset, byteCount: count * type.byteWidth)
    }
    return parts
  }
}
