public import EspalierBasics
internal import Synchronization

extension Problem.Code {
  public static let outputExists = Problem.Code("output.exists")
  public static let outputPartial = Problem.Code("output.partial")
  public static let outputSpace = Problem.Code("output.space")
}

/// An output folder that appears whole or not at all.
///
/// Everything is written into `NAME.partial`; a journal there says what is finished. At the end the folder gets its
/// name in one step. If the run stops, the partial folder stays, and the next run with `resume` continues it.
///
/// Files that lie beside (``OutputLayout/liesBeside``) get their names first, each in one step, the first of them last;
/// the folder then tells of them.
public final class OutputFolder: Sendable {
  public let path: String
  public let layout: OutputLayout
  /// What the run was begun with.
  public let fingerprint: JSON
  private let partial: String
  private let files: [File]
  private let journal: Journal
  private let replacing: Bool
  private let records: Mutex<[ExactString: TensorRecord]>

  /// How to treat what is there already.
  public struct Policy: Sendable {
    /// Continue a partial folder if there is one.
    public var resume: Bool
    /// Replace a finished output, and throw away a partial one.
    public var force: Bool
    /// Whether the verb has a `--resume`: what remedies may name.
    public var canResume = true

    public init(resume: Bool = false, force: Bool = false) {
      self.resume = resume
      self.force = force
    }
  }

  /// Opens the output for writing.
  ///
  /// - Parameter fingerprint: everything the bytes depend on (recipe, seed, inputs, version); a partial folder of
  ///   another fingerprint is not continued.
  public init(
    at path: String, layout: OutputLayout, fingerprint: JSON, policy: Policy
  ) throws(Problem) {
    self.path = path
    self.layout = layout
    self.fingerprint = fingerprint
    partial = Self.partialPath(for: path)
    replacing = FileSystem.kind(path) != nil
    if let conflict = Self.conflicts(at: path, policy: policy, beside: Self.besides(layout)).first { throw conflict }
    let (journal, finished) = try Self.openPartial(partial, fingerprint: fingerprint, policy: policy)
    self.journal = journal
    var files: [File] = []
    for file in layout.files {
      let opened = try File.writing("\(partial)/\(file.name)")
      try opened.resize(to: file.byteCount)
      try opened.write(file.header, at: 0)
      files.append(opened)
    }
    self.files = files
    records = Mutex(
      Dictionary(finished.map { (ExactString($0.tensor), $0) }, uniquingKeysWith: { _, last in last }))
  }

  /// Continues a partial folder, or begins one; what tells that the folder may go was looked at before.
  static func openPartial(
    _ partial: String, fingerprint: JSON, policy: Policy
  ) throws(Problem) -> (journal: Journal, finished: [TensorRecord]) {
    let journalPath = "\(partial)/\(Journal.fileName)"
    if policy.resume, let opened = try Journal.resume(at: journalPath) {
      try requireSame(opened.fingerprint, fingerprint, at: partial)
      return (opened.journal, opened.records)
    }
    if FileSystem.kind(partial) != nil {
      try Journal.requireUnused(at: journalPath)
      try discard(partial)
    }
    try FileSystem.createParents(of: partial)
    try FileSystem.createFolder(partial)
    return (try Journal.create(at: journalPath, fingerprint: fingerprint), [])
  }

  private static func requireSame(_ found: JSON, _ expected: JSON, at path: String) throws(Problem) {
    let (old, new) = (found.members ?? .init(), expected.members ?? .init())
    let changed = new.keys.filter { old[$0] != new[$0] } + old.keys.filter { new[$0] == nil }
    guard changed.isEmpty else {
      throw Problem(
        .journalMismatch,
        "what is there belongs to another run; changed since: \(changed.joined(separator: ", "))",
        remedy: "Restore what changed, or start over with --force.", file: path)
    }
  }

  /// Names of the files beside a finished output's folder that are its own.
  public static func filesBeside(_ path: String) -> [String] { Manifest.besides(in: path) }

  /// Names of files that will lie beside the folder.
  static func besides(_ layout: OutputLayout) -> [String] { layout.liesBeside ? layout.files.map(\.name) : [] }

  // MARK: - Tensors

  /// What the journal says of a tensor of an earlier run, once its bytes have been hashed again and agree.
  public func verifiedRecord(of index: Int) throws(Problem) -> TensorRecord? {
    let tensor = layout.tensors[index]
    guard let record = records.withLock({ $0[ExactString(tensor.name)] }) else { return nil }
    if try files[tensor.file].digest(of: tensor.byteRange) == record.digest { return record }
    records.withLock { $0[ExactString(tensor.name)] = nil }
    return nil
  }

  /// Writes bytes of a tensor, `offset` bytes from its beginning.
  func write(_ bytes: UnsafeRawBufferPointer, tensor index: Int, at offset: Int) throws(Problem) {
    let tensor = layout.tensors[index]
    do throws(Problem) { try files[tensor.file].write(bytes, at: tensor.offset + offset) } catch {
      throw error.at(tensor: tensor.name)
    }
  }

  /// The digest of a tensor all of whose bytes are written.
  func digest(ofWritten index: Int) throws(Problem) -> Digest {
    let tensor = layout.tensors[index]
    return try files[tensor.file].digest(of: tensor.byteRange)
  }

  /// Notes in the journal that all bytes of a tensor are written.
  func finish(_ record: TensorRecord) throws(Problem) {
    try journal.record(record)
    records.withLock { $0[ExactString(record.tensor)] = record }
  }

  /// Records of all tensors, in the order of the layout.
  public func finishedRecords() -> [TensorRecord] {
    records.withLock { records in layout.tensors.compactMap { records[ExactString($0.name)] } }
  }

  // MARK: - The end

  /// Paths and sizes of the files written so far, for digests of whole files.
  public var weightFiles: [(name: String, path: String)] {
    layout.files.map { ($0.name, "\(partial)/\($0.name)") }
  }

  /// Adds the small files, makes everything durable and gives the folder its name.
  ///
  /// - Parameter keepingJournal: whether the folder keeps its journal, for ``isFinished(at:fingerprint:)``.
  public func commit(
    adding small: [(name: String, bytes: [UInt8])], keepingJournal: Bool = false
  ) throws(Problem) {
    for file in files { try file.sync() }
    for (name, bytes) in small {
      let file = try File.writing("\(partial)/\(name)", truncate: true)
      try file.write(bytes, at: 0)
      try file.sync()
    }
    try FileSystem.syncFolder(partial)
    let parent = FileSystem.parent(of: path)
    if layout.liesBeside {
      let old = Manifest.besides(in: path)
      for file in layout.files.reversed() {
        try FileSystem.rename("\(partial)/\(file.name)", to: FileSystem.join(parent, file.name))
      }
      // Parts of the output that is replaced, which a reader would take for parts of this one.
      for name in old where !layout.files.contains(where: { $0.name == name }) {
        let file = FileSystem.join(parent, name)
        if FileSystem.isFile(file) { try FileSystem.remove(file) }
      }
      try FileSystem.syncFolder(parent)
    }
    if replacing { try Self.replace(path, with: partial) } else { try FileSystem.rename(partial, to: path) }
    try FileSystem.syncFolder(parent)
    // Until the folder has its name, the journal tells it to be ours.
    if !keepingJournal { try FileSystem.remove("\(path)/\(Journal.fileName)") }
  }

  /// Whether a finished output that kept its journal is at `path`.
  ///
  /// - Parameter fingerprint: what the run is begun with.
  /// - Throws: if the output at `path` is of another run, or its journal is gone.
  public static func isFinished(at path: String, fingerprint: JSON) throws(Problem) -> Bool {
    guard FileSystem.kind(path) != nil else { return false }
    guard let found = try Journal.resume(at: "\(path)/\(Journal.fileName)") else {
      throw Problem(
        .journalMismatch, "there is no journal that tells what run this is of",
        remedy: "Start over with --force.", file: path)
    }
    try requireSame(found.fingerprint, fingerprint, at: path)
    return true
  }
}
