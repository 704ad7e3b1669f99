public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// Finds the models that recipes name, on this machine alone: nothing is ever fetched.
public struct ModelLocator: Sendable {
  /// Folders to look in, in this order: where the recipe lies, the current folder, `--models`.
  public var folders: [String]

  public init(recipeFolder: String, models: String? = nil) {
    folders = [recipeFolder, "."] + (models.map { [$0] } ?? [])
  }

  /// The folder or file of a model.
  public func locate(_ path: String, revision: String?, line: Int) throws(Problem) -> String {
    if revision == nil {
      for folder in folders {
        let candidate = FileSystem.join(folder, path)
        let isPacked = WeightFile.isThere(candidate) && !FileSystem.isFile(WeightFile.name(candidate))
        // A link's target need not have the name that tells a packed file.
        if isPacked { return WeightFile.location(candidate) }
        if FileSystem.kind(candidate) != nil { return FileSystem.resolved(candidate) ?? candidate }
      }
    }
    if let cached = Self.cached(path, revision: revision) { return cached }
    let hub = Self.isHubName(path)
    throw Problem(
      .checkpointMissing,
      "the model \(path)\(revision.map { "@" + $0 } ?? "") is not on this machine",
      remedy: hub
        ? "Looked for a folder of that name and in the Hugging Face cache. Download it (hf download \(path)) or give --models DIR."
        : line > 0
          ? "Paths are taken from the recipe's folder, then from the current one, then from --models DIR."
          : "Paths are taken from the current folder, then from --models DIR.", recipeLine: line > 0 ? line : nil)
  }

  /// The folders or files of a model and of its adapter or delta.
  func paths(of reference: ModelReference) throws(Problems) -> (model: String, adapter: String?) {
    var problems = Problems()
    let model = problems.collect { () throws(Problem) in
      try locate(reference.path, revision: reference.revision, line: reference.line)
    }
    var adapter: String?
    if let path = reference.adapter {
      adapter = problems.collect { () throws(Problem) in
        try locate(path, revision: reference.adapterRevision, line: reference.line)
      }
    }
    guard problems.all.isEmpty, let model else { throw problems }
    return (model, adapter)
  }

  /// Opens a model with its adapter or delta.
  ///
  /// - Parameter families: the descriptions by which a GGUF file is understood.
  public func open(
    _ reference: ModelReference, families: [Architecture] = Architecture.builtIn()
  ) throws(Problems) -> any Checkpoint {
    let line = reference.line
    let (path, adapter) = try paths(of: reference)
    do throws(Problems) {
      let base = try Architecture.openCheckpoint(at: path, families: families)
      guard let adapter else { return base }
      return DeltaFile.isDelta(adapter)
        ? try DeltaCheckpoint(base: base, deltaAt: adapter) : try AdaptedCheckpoint(base: base, adapterAt: adapter)
    } catch { throw Problems(error.all.map { $0.at(recipeLine: line > 0 ? line : nil) }) }
  }

  private static func isHubName(_ path: String) -> Bool {
    !path.hasPrefix("/") && !path.hasPrefix(".") && path.filter { $0 == "/" }.count == 1
  }

  /// The snapshot of a hub name in the Hugging Face cache.
  private static func cached(_ name: String, revision: String?) -> String? {
    guard isHubName(name), let cache = cacheFolder() else { return nil }
    let folder = "\(cache)/models--" + name.split(separator: "/").joined(separator: "--")
    let revision = revision ?? "main"
    let commit = (try? FileSystem.read("\(folder)/refs/\(revision)", limit: 4096)).map {
      String(decoding: $0, as: UTF8.self).filter { !$0.isWhitespace }
    }
    let snapshot = "\(folder)/snapshots/\(commit ?? revision)"
    return FileSystem.isFolder(snapshot) ? snapshot : nil
  }

  private static func cacheFolder() -> String? {
    FileSystem.environment("HF_HUB_CACHE")
      ?? FileSystem.environment("HF_HOME").map { "\($0)/hub" }
      ?? FileSystem.environment("HOME").map { "\($0)/.cache/huggingface/hub" }
  }
}
