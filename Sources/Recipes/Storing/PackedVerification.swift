public import EspalierBasics
internal import EspalierCheckpoints
public import EspalierExecution

/// Checks packed files against the digests in them, and what lies beside them against the list.
public enum PackedVerification {
  /// Packed files at a path: itself, or those in the folder. Empty if it is something else.
  public static func files(at path: String) -> [String] {
    let files = (try? PackingPlan.files(of: path)) ?? []
    return files.map(\.path).filter { PackingPlan.isPacked($0) }
  }

  /// - Parameter base: the folder with the base's files, if they are not where they were.
  /// - Returns: how many parts there are and of how many bytes, and everything that is wrong.
  public static func verify(
    _ path: String, base: String? = nil, threads: Int, memory: Int = Machine.memoryBytes / 2,
    listener: any ProgressListener
  ) throws(Problem) -> Verification.Outcome {
    var outcome = Verification.Outcome(tensors: 0, bytes: 0, problems: [])
    let workers = WorkerPool(threads: threads)
    defer { workers.stop() }
    for file in files(at: path) {
      do throws(Problem) {
        let archive = try ArchivedFile(at: file, baseFolder: base)
        outcome.tensors += archive.header.parts.count
        outcome.bytes = [outcome.bytes, archive.header.byteCount].saturatingSum
        try ArchiveReading.requireMemory(for: [file], baseFolder: base, threads: threads, allowed: memory)
        listener.receive(.began(stage: "verify", totalBytes: archive.header.byteCount))
        try ArchiveReading.check(archive, workers: workers) { listener.receive(.advanced(bytes: $0)) }
        if let expected = archive.header.sha256, FileHash.isAvailable, try FileHash.sha256(of: archive) != expected {
          throw Problem(.archiveDamaged, "the whole file has another SHA-256 than was kept of it", file: file)
        }
      } catch { outcome.problems.append(error) }
    }
    outcome.problems += others(in: path)
    return outcome
  }

  /// What is wrong with files that were copied, and which packed ones are not there, by the folder's list.
  static func others(in folder: String) -> [Problem] {
    let path = "\(folder)/\(PackedPlace.listName)"
    guard let bytes = try? FileSystem.read(path) else { return [] }
    guard let files = (try? JSON(parsing: bytes))?["files"]?.array else {
      return [Problem(.manifestInvalid, "the list of packed files cannot be read", file: path)]
    }
    return files.compactMap { entry in
      guard let name = entry["name"]?.string, let isPacked = entry["packed"]?.bool, !name.hasPrefix("/"),
        !name.split(separator: "/").contains("..")
      else { return Problem(.manifestInvalid, "a file's entry is incomplete", file: path) }
      let file = "\(folder)/\(name)\(isPacked ? WeightFile.packedSuffix : "")"
      guard FileSystem.isFile(file) else { return Problem(.verifyMismatch, "the file is not there", file: file) }
      guard !isPacked else { return nil }
      let digest = try? FileCopy.digest(of: file).description
      return digest != nil && digest == entry["xxh3"]?.string
        ? nil : Problem(.verifyMismatch, "the bytes are not those that were written", file: file)
    }
  }
}
