internal import EspalierBasics
internal import EspalierExecution
internal import EspalierNumerics

/// A copy of a model, patched or restored, that appears whole or not at all.
///
/// Of a single file the records lie beside it in a folder, which gets its name first: a run that is ended between the two
/// leaves the old file, and records that do not fit it, which digests tell.
struct PatchOutput {
  private let isFolder: Bool
  private let prepared: PreparedOutput

  /// What stands in the way, found without touching anything.
  ///
  /// - Parameter bytes: beside those of the model's files.
  static func obstacles(
    to options: PatchOptions, like model: PatchedModel, adding bytes: Int
  ) throws(Problem) -> [Problem] {
    var problems: [Problem] = []
    if OutputOverlap.overlaps(options.output, input: model.path) {
      problems.append(
        Problem(
          .outputOverlap, "the output \(options.output) and the model \(model.path) are one, or one lies in the other",
          remedy: "Choose another name for the output: inputs are never written to."))
    }
    let isFolder = model.isFolder
    problems += OutputFolder.obstacles(
      at: options.output, policy: options.policy, bytes: try model.byteCount + bytes
    ) { PatchedModel.isOurs($0, isFolder: isFolder) }
    let records = recordFolder(of: options.output)
    if !isFolder, FileSystem.kind(records) != nil {
      if !options.force {
        problems.append(
          Problem(
            .outputExists, "the output exists already",
            remedy: "Choose another name, or give --force to replace it once the new one is complete.", file: records))
      } else if !PatchedModel.holdsRecords(records) {
        problems.append(
          Problem(
            .outputExists, "there is something that was not written by espalier; --force does not replace it",
            remedy: "Choose another name, or remove it yourself.", file: records))
      }
    }
    return problems
  }

  private static func recordFolder(of path: String) -> String { "\(path).\(PatchedModel.folderName)" }

  /// - Throws: ``obstacles(to:like:adding:)``.
  init(_ options: PatchOptions, like model: PatchedModel) throws(Problem) {
    if let problem = try Self.obstacles(to: options, like: model, adding: 0).first { throw problem }
    isFolder = model.isFolder
    prepared = try PreparedOutput(
      at: options.output, fingerprint: ["verb": "patch"], policy: options.policy
    ) { [isFolder] in PatchedModel.isOurs($0, isFolder: isFolder) }
    // What waits for its record lies among the records, where no file of the model is.
    try FileSystem.createFolder(records)
  }

  private var records: String { "\(prepared.folder)/\(PatchedModel.folderName)" }

  func scratch() throws(Problem) -> TensorScratch { try TensorScratch(in: records) }

  /// The path of one of the model's files.
  func path(of name: String) -> String { "\(prepared.folder)/\(isFolder ? name : Self.fileName)" }
  private static let fileName = "model"

  /// - Parameter number: from 1.
  func record(_ number: Int) -> String {
    let digits = "\(number)"
    return "\(records)/\(String(repeating: "0", count: max(0, 4 - digits.count)))\(digits).safetensors"
  }

  /// Copies files and the first records.
  ///
  /// - Returns: digests of the files.
  func copy(_ model: PatchedModel, records count: Int) throws(Problem) -> [ExactString: Digest] {
    var digests: [ExactString: Digest] = [:]
    for (name, path) in model.files {
      digests[ExactString(name)] = try FileCopy.copy(path, to: self.path(of: name))
    }
    for (index, path) in model.records.prefix(count).enumerated() {
      _ = try FileCopy.copy(path, to: record(index + 1))
    }
    return digests
  }

  func discard() { try? prepared.discard() }

  func commit() throws(Problem) {
    let isPatched = try !FileSystem.list(records).isEmpty
    if isFolder {
      if !isPatched { try FileSystem.remove(records) }
      return try prepared.commit()
    }
    let beside = Self.recordFolder(of: prepared.path)
    if isPatched { try OutputFolder.place(records, at: beside) }
    try prepared.commit(file: Self.fileName)
    if !isPatched, FileSystem.kind(beside) != nil { try FileSystem.remove(beside) }
  }
}
