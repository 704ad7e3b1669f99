public import EspalierBasics
internal import EspalierCheckpoints
public import EspalierExecution

/// Gives back what was packed, every byte of it.
public struct UnpackingRun {
  public struct Options: Sendable {
    public var output: String
    /// The folder with the base's files, if they are not where they were.
    public var base: String?
    public var threads: Int
    /// Ceiling on resident memory, in bytes.
    public var memory: Int
    public var policy = OutputFolder.Policy()

    public init(output: String, threads: Int, memory: Int = Machine.memoryBytes / 2) {
      (self.output, self.threads, self.memory) = (output, threads, memory)
    }
  }

  /// What was written.
  public struct Outcome: Sendable {
    public var files: Int
    public var bytes: Int
    public var seconds: Double
  }

  /// - Parameter model: a packed file, or a folder with packed files.
  /// - Throws: every problem of headers and places, before anything is written; what reading throws, among it
  ///   `archive.damaged` for a packed file that was changed.
  public static func execute(
    _ model: String, _ options: Options, listener: any ProgressListener
  ) throws(Problems) -> Outcome {
    let began = Machine.monotonicSeconds
    var problems = Problems()
    var archives: [(name: String, file: ArchivedFile)] = []
    var others: [(name: String, path: String)] = []
    var list: PackedList?
    problems.collect { () throws(Problem) in
      list = try PackedList(inFolder: model)
      for (name, path) in try PackingPlan.files(of: model) where name != PackedList.fileName {
        if PackingPlan.isPacked(name) || (!FileSystem.isFolder(model) && WeightFile.isPacked(path)) {
          archives.append((WeightFile.name(name), try ArchivedFile(at: path, baseFolder: options.base)))
        } else {
          others.append((name, path))
        }
      }
    }
    for (name, file) in archives where others.contains(where: { ExactString($0.name) == ExactString(name) }) {
      problems.add(
        Problem(
          .outputExists, "\(name) is there packed and as it is", remedy: "Remove the one that is not wanted.",
          file: file.path))
    }
    problems.all += list?.missing(from: model) ?? []
    if archives.isEmpty, problems.errors.isEmpty {
      problems.add(
        Problem(.archiveFormat, "there is no packed file", remedy: "`espalier pack` makes NAME.packed.", file: model))
    }
    problems.collect { () throws(Problem) in
      try ArchiveReading.requireMemory(
        for: archives.map(\.file.path), baseFolder: options.base, threads: options.threads, allowed: options.memory)
    }
    let bytes = archives.map(\.file.header.byteCount).saturatingSum
    let isFolder = FileSystem.isFolder(model)
    let names = archives.map(\.name) + others.map(\.name)
    let place = PackedPlace(options.output, isFolder: isFolder, policy: options.policy) { path in
      isFolder ? PackedPlace.isReplaceable(path, byFiles: names) : PackedPlace.isReplaceable(file: path)
    }
    problems.all += place.obstacles(bytes: bytes)
    guard problems.errors.isEmpty else { throw problems }
    do throws(Problem) {
      let workers = WorkerPool(threads: options.threads)
      defer { workers.stop() }
      let inputs = JSON.object(try InputIdentities.members(archives.map(\.file.path) + others.map(\.path)))
      let held = try place.begin(fingerprint: inputs)
      defer { withExtendedLifetime(held) {} }
      listener.receive(.began(stage: "unpack", totalBytes: bytes))
      for (name, archive) in archives {
        let target = isFolder ? "\(place.partial)/\(name)" : place.partial
        try FileSystem.createParents(of: target)
        let unfinished = isFolder ? target + ".part" : target
        if isFolder, FileSystem.isFile(target) {
          listener.receive(.advanced(bytes: archive.header.byteCount))
          continue
        }
        try ArchiveReading.write(archive, to: try File.writing(unfinished, truncate: true), workers: workers) { count in
          listener.receive(.advanced(bytes: count))
        }
        try require(archive, of: unfinished)
        if isFolder { try FileSystem.rename(unfinished, to: target) }
      }
      for (name, path) in others {
        let digest = try FileCopy.copy(path, to: "\(place.partial)/\(name)")
        try list?.files.first { ExactString($0.name) == ExactString(name) }?.require(digest, at: path)
      }
      try place.finish()
      let seconds = Machine.monotonicSeconds - began
      listener.receive(.ended(stage: "unpack", seconds: seconds))
      return Outcome(files: archives.count + others.count, bytes: bytes, seconds: seconds)
    } catch { throw Problems([error]) }
  }
  /// Compares a file that was written with the SHA-256 of the one that was packed, if that was kept.
  private static func require(_ archive: ArchivedFile, of written: String) throws(Problem) {
    guard let expected = archive.header.sha256, FileHash.isAvailable else { return }
    guard try FileHash.sha256(of: try File.reading(written)) == expected else {
      throw Problem(
        .archiveDamaged, "the whole file has another SHA-256 than was kept of it",
        remedy: "Restore the file from a copy.", file: archive.path)
    }
  }
}
