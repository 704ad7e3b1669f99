internal import EspalierBasics
internal import EspalierCheckpoints

/// The files of a model that is to be stored.
enum ModelFiles {
  /// Names at a model's top that a store or what gives it back needs for itself.
  private static let reserved = [StoredModel.fileName, StoreRetrieval.unfinishedName]

  /// All files, those in folders of the folder too, in the order of names.
  ///
  /// - Parameters:
  ///   - model: a folder, or a file, which becomes a folder of one.
  ///   - followsLinks: whether what links outside the folder lead to is taken.
  /// - Throws: everything that cannot be stored, by name.
  static func list(_ model: String, followsLinks: Bool) throws(Problems) -> [(name: String, path: String)] {
    var problems = Problems()
    var files: [(name: String, path: String)] = []
    switch FileSystem.kind(model) {
    case .file: files = [(FileSystem.lastComponent(of: model), model)]
    case .folder: list(model, root: FileSystem.resolved(model) ?? model, as: "", followsLinks, &files, &problems)
    default:
      problems.add(
        Problem(
          .checkpointMissing, "there is no model at \(model)", remedy: "Give a folder or a file.", file: model))
    }
    for (name, path) in files {
      if PackingPlan.isPacked(name) || ExactString(name) == ExactString(PackedList.fileName) {
        problems.add(
          Problem(
            .storeInput, "\(name) is of a packed model",
            remedy: "Give the model as it was before (`espalier unpack`): a store packs by itself.", file: path))
      } else if reserved.contains(where: { ExactString($0) == ExactString(name) }) {
        problems.add(
          Problem(
            .storeInput, "a model in a store cannot have a file \(name)",
            remedy: "A model of another store is taken out of it by `espalier store get`.", file: path))
      }
    }
    if files.isEmpty, problems.errors.isEmpty {
      problems.add(Problem(.checkpointMissing, "the folder has no files", file: model))
    }
    guard problems.errors.isEmpty else { throw problems }
    return files
  }

  private static func list(
    _ folder: String, root: String, as prefix: String, _ followsLinks: Bool,
    _ files: inout [(name: String, path: String)], _ problems: inout Problems
  ) {
    let names = problems.collect { () throws(Problem) in try FileSystem.list(folder) } ?? []
    for name in names {
      let path = "\(folder)/\(name)"
      func refuse(_ what: String, _ remedy: String) {
        problems.add(Problem(.storeInput, "\(prefix)\(name) \(what)", remedy: remedy, file: path))
      }
      if FileSystem.linkTarget(path) != nil {
        guard let target = FileSystem.resolved(path) else {
          refuse("is a link that leads nowhere", "Restore what it leads to, or remove it.")
          continue
        }
        guard FileSystem.isFile(target) else {
          refuse("is a link to a folder", "Copy the folder to its place: only links to files are stored.")
          continue
        }
        guard followsLinks || target.utf8.starts(with: (root == "/" ? root : root + "/").utf8) else {
          refuse(
            "is a link that leaves the model's folder, to \(target)", "Give --follow-links to take what it leads to.")
          continue
        }
        files.append((prefix + name, path))
        continue
      }
      switch FileSystem.kind(path) {
      case .file: files.append((prefix + name, path))
      case .folder: list(path, root: root, as: prefix + name + "/", followsLinks, &files, &problems)
      case .other: refuse("is neither a file nor a folder", "Remove it.")
      case nil: refuse("cannot be found by its name", "Give it a name in UTF-8.")
      }
    }
  }
}
