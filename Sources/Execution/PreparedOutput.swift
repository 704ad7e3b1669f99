public import EspalierBasics

/// An output that is prepared in `NAME.partial/` like an ``OutputFolder``, where no layout is known beforehand: a folder
/// of any files, or a single file.
///
/// A journal in the partial folder tells it to be ours, keeps other runs out of it, and says what is finished. If the run
/// stops, the folder stays, and the next run with `resume` finds what was noted.
public final class PreparedOutput: Sendable {
  public let path: String
  /// Where files are written until all are there.
  public let folder: String
  /// What the run was begun with.
  public let fingerprint: JSON
  /// What an earlier run noted, the last note of a name. Whoever uses it hashes the bytes again.
  public let finished: [ExactString: TensorRecord]
  private let journal: Journal

  /// The file in ``folder`` that is not the caller's.
  public static let journalName = Journal.fileName

  /// - Parameters:
  ///   - fingerprint: everything the bytes depend on; a partial folder of another fingerprint is not continued.
  ///   - isOurs: whether what is at `path` may be replaced.
  /// - Throws: ``OutputFolder/obstacles(at:policy:bytes:beside:isOurs:)``; `journal.mismatch`; `file.locked`.
  public init(
    at path: String, fingerprint: JSON, policy: OutputFolder.Policy, isOurs: @escaping (String) -> Bool
  ) throws(Problem) {
    (self.path, self.fingerprint, folder) = (path, fingerprint, OutputFolder.partialPath(for: path))
    if let conflict = OutputFolder.conflicts(at: path, policy: policy, isOurs: isOurs).first { throw conflict }
    let (journal, finished) = try OutputFolder.openPartial(folder, fingerprint: fingerprint, policy: policy)
    self.journal = journal
    self.finished = Dictionary(finished.map { (ExactString($0.tensor), $0) }, uniquingKeysWith: { _, last in last })
  }

  /// Notes what is finished.
  public func note(_ record: TensorRecord) throws(Problem) { try journal.record(record) }

  /// Gives the folder the output's name, in the place of the folder that has it.
  public func commit() throws(Problem) {
    try FileSystem.syncFolder(folder)
    try OutputFolder.place(folder, at: path)
    try FileSystem.remove("\(path)/\(Journal.fileName)")
    try FileSystem.syncFolder(path)
  }

  /// Gives a file of the folder the output's name, in the place of the file that has it, and removes the rest.
  public func commit(file name: String) throws(Problem) {
    try FileSystem.rename("\(folder)/\(name)", to: path)
    try FileSystem.syncFolder(FileSystem.parent(of: path))
    try discard()
  }

  /// Removes what was prepared.
  public func discard() throws(Problem) { try OutputFolder.discard(folder) }
}
