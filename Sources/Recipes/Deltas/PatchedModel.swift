internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution

/// A model whose files are patched: a folder, or a single file.
struct PatchedModel: Sendable {
  let path: String
  let isFolder: Bool
  /// All files but the records, by their paths from the model's folder.
  let files: [(name: String, path: String)]
  /// Paths of the records, that of the first patch first.
  let records: [String]

  /// Where records lie in a model's folder, and the ending of their folder's name beside a single file.
  static let folderName = "patches"

  /// - Throws: `checkpoint.missing`; `patch` for a folder that holds what outputs are prepared with.
  init(at path: String) throws(Problem) {
    let all = try PackingPlan.files(of: path)
    isFolder = FileSystem.isFolder(path)
    self.path = path
    files = isFolder ? all.filter { !$0.name.hasPrefix(Self.folderName + "/") } : all
    records = try Self.records(in: Self.recordFolder(of: path, isFolder: isFolder))
    if let unfinished = files.first(where: { isFolder && $0.name == PreparedOutput.journalName }) {
      throw Problem(
        .patch, "the folder holds the journal of a run that wrote it",
        remedy: "Remove the journal if that run has ended.", file: unfinished.path)
    }
  }

  var recordFolder: String { Self.recordFolder(of: path, isFolder: isFolder) }

  private static func recordFolder(of path: String, isFolder: Bool) -> String {
    isFolder ? "\(path)/\(folderName)" : "\(path).\(folderName)"
  }

  private static func records(in folder: String) throws(Problem) -> [String] {
    guard FileSystem.isFolder(folder) else { return [] }
    return try FileSystem.list(folder).filter { $0.hasSuffix(".safetensors") }.map { "\(folder)/\($0)" }
  }

  /// Bytes of all files and records.
  var byteCount: Int {
    get throws(Problem) {
      var bytes = 0
      for path in files.map(\.path) + records { bytes += try File.reading(path).size() }
      return bytes
    }
  }

  /// The name of the weight file at a path; nil for one that is stored otherwise.
  func name(of path: String) -> String? {
    // A packed file holds other bytes than those that are read of it, whichever of its names it was opened by.
    guard FileSystem.isFile(path), !WeightFile.isPacked(path) else { return nil }
    let place = ExactString(WeightFile.location(path))
    return files.first { ExactString(WeightFile.location($0.path)) == place }?.name
  }

  // MARK: - What may be replaced

  /// Whether an output of this kind at `path` is a patched model, a model that was written here, or an empty folder.
  static func isOurs(_ path: String, isFolder: Bool) -> Bool {
    guard isFolder else {
      // Any file of weights, as every verb that writes one replaces it.
      guard FileSystem.isFile(path), let file = try? File.reading(path) else { return false }
      return (try? SafetensorsHeader(reading: file)) != nil
    }
    guard FileSystem.isFolder(path) else { return false }
    return FileSystem.isFile("\(path)/\(Manifest.fileName)") || holdsRecords("\(path)/\(folderName)")
      || (try? FileSystem.list(path).isEmpty) == true
  }

  /// Whether everything in a folder is a record, and there is one.
  static func holdsRecords(_ folder: String) -> Bool {
    guard FileSystem.isFolder(folder), let names = try? FileSystem.list(folder), !names.isEmpty else { return false }
    return names.allSatisfy { (try? PatchRecord(at: "\(folder)/\($0)")) != nil }
  }
}
