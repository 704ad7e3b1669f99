public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics
internal import Synchronization

extension Problem.Code {
  public static let manifestMissing = Problem.Code("manifest.missing")
  public static let manifestInvalid = Problem.Code("manifest.invalid")
  public static let verifyMismatch = Problem.Code("verify.mismatch")
}

/// Checks an output folder against its manifest, byte for byte: every file that the manifest names, and that nothing
/// else there would be loaded as weights.
public enum Verification {
  public struct Outcome: Sendable {
    public var tensors: Int
    public var bytes: Int
    /// Everything that is not as the manifest says.
    public var problems: [Problem]

    public init(tensors: Int, bytes: Int, problems: [Problem]) {
      (self.tensors, self.bytes, self.problems) = (tensors, bytes, problems)
    }
  }

  /// - Throws: if there is no manifest to check against. What disagrees with it is in the outcome.
  public static func verify(
    _ folder: String, threads: Int, listener: any ProgressListener
  ) throws(Problem) -> Outcome {
    let path = "\(folder)/\(Manifest.fileName)"
    guard FileSystem.isFile(path) else {
      throw Problem(
        .manifestMissing, "there is no manifest to verify against",
        remedy: "Only folders written by espalier have one.", file: path)
    }
    let json: JSON
    do throws(Problem) { json = try JSON(parsing: try FileSystem.read(path)) } catch { throw error.at(file: path) }
    guard json["espalier_manifest"]?.integer == Manifest.format, let files = json["files"]?.array, !files.isEmpty,
      let smallFiles = json["small_files"]?.array
    else {
      throw Problem(.manifestInvalid, "the manifest is not one this version can read", file: path)
    }
    var outcome = Outcome(tensors: 0, bytes: 0, problems: [])
    var checks: [TensorCheck] = []
    for file in files { try add(file, in: folder, manifest: path, to: &checks, outcome: &outcome) }
    for file in smallFiles { try check(small: file, in: folder, manifest: path, outcome: &outcome) }
    outcome.problems += try unlisted(in: folder, files: files + smallFiles)
    listener.receive(.began(stage: "verify", totalBytes: outcome.bytes))
    let found = Mutex<[(Int, Problem)]>([])
    let pool = WorkerPool(threads: threads)
    defer { pool.stop() }
    try pool.forEach(checks.count) { (index) throws(Problem) in
      do throws(Problem) { try checks[index].run() } catch { found.withLock { $0.append((index, error)) } }
      listener.receive(.advanced(bytes: checks[index].byteCount))
    }
    outcome.problems += found.withLock { $0.sorted { $0.0 < $1.0 }.map(\.1) }
    outcome.tensors = checks.count
    return outcome
  }

  private struct TensorCheck: Sendable {
    var file: any ByteSource
    var name: String
    var offset: Int
    var byteCount: Int
    var digest: Digest

    func run() throws(Problem) {
      let found = try file.digest(of: offset..<offset + byteCount)
      guard found == digest else {
        throw Problem(
          .verifyMismatch, "the bytes are not those that were written: \(found), expected \(digest)",
          remedy: "The file was changed or damaged since; make it again.", file: file.path, tensor: name,
          byteOffset: offset)
      }
    }
  }

  private static func add(
    _ entry: JSON, in folder: String, manifest: String, to checks: inout [TensorCheck], outcome: inout Outcome
  ) throws(Problem) {
    guard let name = entry["name"]?.string, !name.contains("/"), let bytes = entry["bytes"]?.integer,
      let headerDigest = entry["header"]?.string, let tensors = entry["tensors"]?.array
    else { throw Problem(.manifestInvalid, "a file's entry is incomplete", file: manifest) }
    let file: any ByteSource
    let header: (digest: Digest, tensors: [StoredTensor])
    do throws(Problem) {
      file = try WeightFile.open(
        entry["beside"]?.bool == true
          ? FileSystem.join(FileSystem.parent(of: folder), name) : "\(folder)/\(name)")
      let size = try file.size()
      guard size == bytes else {
        throw Problem(
          .verifyMismatch, "the file has \(size) bytes, expected \(bytes)", file: file.path)
      }
      header = try Self.header(of: file)
    } catch {
      outcome.problems.append(error)
      return
    }
    if header.digest.description != headerDigest {
      outcome.problems.append(
        Problem(
          .verifyMismatch, "the header is not the one that was written: \(header.digest), expected \(headerDigest)",
          file: file.path))
    }
    try check(sha256: entry, of: file, outcome: &outcome)
    let stored = Dictionary(
      header.tensors.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
    if stored.count != tensors.count {
      outcome.problems.append(
        Problem(
          .verifyMismatch, "the file has \(stored.count) tensors, expected \(tensors.count)", file: file.path))
    }
    for tensor in tensors {
      guard let name = tensor["name"]?.string, let offset = tensor["offset"]?.integer,
        let digest = tensor["xxh3"]?.string.flatMap({ Digest($0) })
      else { throw Problem(.manifestInvalid, "a tensor's entry is incomplete", file: manifest) }
      guard let there = stored[ExactString(name)], there.offset == offset,
        there.format.name == tensor["dtype"]?.string,
        there.shape == tensor["shape"]?.array?.compactMap(\.integer)
      else {
        outcome.problems.append(
          Problem(
            .verifyMismatch, "the header does not have the tensor as the manifest says", file: file.path,
            tensor: name))
        continue
      }
      checks.append(
        TensorCheck(file: file, name: name, offset: offset, byteCount: there.byteCount, digest: digest))
      outcome.bytes += there.byteCount
    }
  }

  /// The digest of what is before the data, and the tensors.
  private static func header(of file: any ByteSource) throws(Problem) -> (digest: Digest, tensors: [StoredTensor]) {
    guard WeightFile.name(file.path).hasSuffix(".gguf") else {
      let header = try SafetensorsHeader(reading: file)
      return (header.digest, header.tensors)
    }
    let header = try GGUFHeader(reading: file)
    let size = try file.size()
    let start = header.tensors.map(\.offset).min() ?? size
    let digest = try file.read(start, at: 0).withUnsafeBytes { Digest(of: $0) }
    return (digest, header.tensors.compactMap { StoredTensor($0, file: file.path) })
  }

  private static func check(sha256 entry: JSON, of file: any ByteSource, outcome: inout Outcome) throws(Problem) {
    guard let sha = entry["sha256"]?.string else { return }
    let found = try FileHash.sha256(of: file)
    guard found != sha else { return }
    outcome.problems.append(Problem(.verifyMismatch, "SHA-256 is \(found), expected \(sha)", file: file.path))
  }

  // MARK: - Other files

  private static func check(
    small entry: JSON, in folder: String, manifest: String, outcome: inout Outcome
  ) throws(Problem) {
    guard let name = entry["name"]?.string, !name.contains("/"), let bytes = entry["bytes"]?.integer,
      let digest = entry["xxh3"]?.string.flatMap({ Digest($0) })
    else { throw Problem(.manifestInvalid, "a file's entry is incomplete", file: manifest) }
    do throws(Problem) {
      let file = try File.reading("\(folder)/\(name)")
      let size = try file.size()
      guard size == bytes else {
        throw Problem(.verifyMismatch, "the file has \(size) bytes, expected \(bytes)", file: file.path)
      }
      let found = try file.read(size, at: 0).withUnsafeBytes { Digest(of: $0) }
      guard found == digest else {
        throw Problem(
          .verifyMismatch, "the bytes are not those that were written: \(found), expected \(digest)",
          remedy: "The file was changed or damaged since; make it again.", file: file.path)
      }
      try check(sha256: entry, of: file, outcome: &outcome)
    } catch { outcome.problems.append(error) }
  }

  /// Files that a reader of the folder would take weights from, and that the manifest does not name.
  private static func unlisted(in folder: String, files: [JSON]) throws(Problem) -> [Problem] {
    let listed = Set(files.compactMap { $0["name"]?.string })
    let endings = [".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth", ".gguf"]
    return try FileSystem.list(folder)
      .filter { name in !listed.contains(name) && endings.contains { name.hasSuffix($0) } }
      .map {
        Problem(
          .verifyMismatch, "the manifest does not name this file of weights",
          remedy: "It was not written with the others; remove it.", file: "\(folder)/\($0)")
      }
  }
}
