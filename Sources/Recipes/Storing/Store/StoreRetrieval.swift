public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution

extension ModelStore {
  /// Gives a model back, every byte of its files. The digest of what was written is compared before the folder gets its
  /// name; if anything is wrong, nothing stays.
  ///
  /// - Throws: `store.model` for a name that no model has, problems of the place, before anything is written;
  ///   `archive.damaged`, `store.damaged` for what is not as it was stored.
  public func get(
    _ name: String, _ options: UnpackingRun.Options, listener: any ProgressListener
  ) throws(Problems) -> UnpackingRun.Outcome {
    var problems = Problems()
    do throws(Problem) {
      let held = try hold()
      defer { withExtendedLifetime(held) {} }
      try requireModel(name)
      let model = try StoredModel(inFolder: folder(of: name))
      guard !contains(options.output) else {
        throw Problem(
          .outputExists, "the output would lie in the store", remedy: "Choose another output.", file: options.output)
      }
      let place = PackedPlace(options.output, isFolder: true, policy: options.policy) { path in
        PackedPlace.isReplaceable(path, byFiles: model.files.map(\.name))
      }
      problems.all = place.obstacles(bytes: model.byteCount)
      guard problems.errors.isEmpty else { throw problems.errors[0] }
      return try StoreRetrieval(store: self, model: model, place: place, options: options, listener: listener).run()
    } catch { throw problems.errors.isEmpty ? Problems([error]) : problems }
  }
}

/// A model on its way out of a store.
struct StoreRetrieval {
  let store: ModelStore
  let model: StoredModel
  let place: PackedPlace
  let options: UnpackingRun.Options
  let listener: any ProgressListener

  /// What a file is called until it is whole.
  static let unfinishedName = "espalier-unfinished"

  func run() throws(Problem) -> UnpackingRun.Outcome {
    let began = Machine.monotonicSeconds
    let workers = WorkerPool(threads: options.threads)
    defer { workers.stop() }
    let fingerprint: JSON = [
      "store": .string(FileSystem.resolved(store.path) ?? store.path), "model": model.json,
    ]
    try ArchiveReading.requireMemory(
      for: model.files.filter(\.object.isPacked).map { store.path(of: $0.object) }.filter { FileSystem.isFile($0) },
      threads: options.threads, allowed: options.memory)
    let held = try place.begin(fingerprint: fingerprint)
    defer { withExtendedLifetime(held) {} }
    do throws(Problem) {
      listener.receive(.began(stage: "get", totalBytes: model.byteCount))
      let unfinished = "\(place.partial)/\(Self.unfinishedName)"
      for file in model.files {
        let target = "\(place.partial)/\(file.name)"
        // What an interrupted run has written may be there.
        if !FileSystem.isFile(target) || (try? isWhole(target, file, workers)) != true {
          do throws(Problem) {
            try write(file, to: unfinished, workers)
            guard try isWhole(unfinished, file, workers) else {
              throw Problem(
                .storeDamaged, "\(file.name) does not come back as it was stored",
                remedy: "`espalier store check` tells what is damaged; adding the model again from a copy mends it.")
            }
          } catch { throw error.at(file: store.path(of: file.object)) }
          try FileSystem.createParents(of: target)
          try FileSystem.rename(unfinished, to: target)
        }
        listener.receive(.advanced(bytes: file.byteCount))
      }
      try place.finish()
    } catch {
      try? place.discard()
      guard error.code == .diskFull else { throw error }
      throw Problem(error.code, error.message, remedy: "Make room, or choose another output.", file: error.context.file)
    }
    let seconds = Machine.monotonicSeconds - began
    listener.receive(.ended(stage: "get", seconds: seconds))
    return UnpackingRun.Outcome(files: model.files.count, bytes: model.byteCount, seconds: seconds)
  }

  private func isWhole(_ path: String, _ file: StoredModel.File, _ workers: WorkerPool) throws(Problem) -> Bool {
    let written = try File.reading(path)
    guard try written.size() == file.byteCount else { return false }
    return try FileSpans.digest(of: written, workers: workers) == file.object.digest
  }

  private func write(_ file: StoredModel.File, to target: String, _ workers: WorkerPool) throws(Problem) {
    let path = store.path(of: file.object)
    guard FileSystem.isFile(path) else {
      throw Problem(
        .storeDamaged, "the object that \(file.name) is kept as is gone",
        remedy: "Add the model again from a copy.", file: path)
    }
    if file.object.isPacked {
      try ArchiveReading.write(
        try ArchivedFile(at: path), to: try File.writing(target, truncate: true), workers: workers
      ) { _ in }
    } else {
      _ = try FileCopy.copy(path, to: target)
    }
  }
}
