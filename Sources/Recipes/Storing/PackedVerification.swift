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
    do throws(Problem) {
      guard let list = try PackedList(inFolder: folder) else { return [] }
      var problems = list.missing(from: folder)
      for file in list.files where !file.isPacked && FileSystem.isFile("\(folder)/\(file.name)") {
        let path = "\(folder)/\(file.name)"
        do throws(Problem) { try file.require(try FileCopy.digest(of: path), at: path) } catch {
          problems.append(error)
        }
      }
      return problems
    } catch { return [error] }
  }
}
