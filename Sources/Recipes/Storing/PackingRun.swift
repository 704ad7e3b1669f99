internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution

/// Packs a model. Everything that was packed is read back and compared before it gets its name, and before anything of the
/// model may go.
public struct PackingRun {
  private let plan: PackingPlan
  private let place: PackedPlace
  private let workers: WorkerPool
  private let listener: any ProgressListener

  /// - Throws: what reading and writing throw; finished files stay for `--resume`.
  public static func execute(_ plan: PackingPlan, listener: any ProgressListener) throws(Problem) -> PackingReport {
    let workers = WorkerPool(threads: plan.options.threads)
    defer { workers.stop() }
    return try PackingRun(
      plan: plan, place: PackedPlace(plan.options.output, isFolder: plan.isFolder), workers: workers, listener: listener
    ).execute()
  }

  private func execute() throws(Problem) -> PackingReport {
    let paths = plan.entries.map(\.path) + plan.basePaths
    let inputs = JSON.object(
      [
        ("packing", .number(ArchiveHeader.formatVersion)), ("chunk", .number(plan.options.chunkBytes)),
        ("sha256", .bool(plan.options.hashes)), ("files", .number(plan.entries.count)),
      ] + (try InputIdentities.members(paths)))
    let held = try place.begin(fingerprint: inputs, policy: plan.options.policy)
    defer { withExtendedLifetime(held) {} }
    var report = PackingReport(of: plan)
    var began = Machine.monotonicSeconds
    listener.receive(.began(stage: "pack", totalBytes: plan.packed.reduce(0) { $0 + $1.byteCount }))
    for entry in plan.packed { report.add(try pack(entry, Digest(of: inputs.text()))) }
    report.seconds = Machine.monotonicSeconds - began
    listener.receive(.ended(stage: "pack", seconds: report.seconds))
    began = Machine.monotonicSeconds
    listener.receive(.began(stage: "read back", totalBytes: plan.packed.reduce(0) { $0 + $1.byteCount }))
    for entry in plan.packed { try compare(entry) }
    report.secondsReadBack = Machine.monotonicSeconds - began
    listener.receive(.ended(stage: "read back", seconds: report.secondsReadBack))
    var digests: [Digest] = []
    for entry in plan.entries where entry.header == nil {
      digests.append(try FileCopy.copy(entry.path, to: target(entry)))
    }
    try InputIdentities.requireUnchanged(paths, since: inputs)
    if plan.isFolder {
      try FileSystem.write(list(digests).bytes(pretty: true), to: "\(place.partial)/\(PackedPlace.listName)")
    }
    try place.finish()
    // A folder was replaced with its name; a file has another one.
    if plan.options.replaces, !plan.isFolder { try FileSystem.remove(plan.model) }
    return report
  }

  /// Where a file lies until all are there.
  private func target(_ entry: PackingPlan.Entry) -> String {
    plan.isFolder
      ? "\(place.partial)/\(entry.name)\(entry.header == nil ? "" : WeightFile.packedSuffix)" : place.partial
  }

  // MARK: - One file

  private func pack(_ entry: PackingPlan.Entry, _ fingerprint: Digest) throws(Problem) -> PackingReport.Packed {
    guard var header = entry.header else { throw Problem(.archiveFormat, "the file is not packed", file: entry.path) }
    let target = target(entry)
    // Until a file is whole it is told from one that is.
    let unfinished = plan.isFolder ? target + ".part" : target
    try FileSystem.createParents(of: target)
    if plan.isFolder, FileSystem.isFile(target) {
      listener.receive(.advanced(bytes: entry.byteCount))
      return PackingReport.Packed(entry.name, try ArchivedFile(at: target))
    }
    let source = try File.reading(entry.path)
    if header.sha256 != nil { header.sha256 = try FileHash.sha256(of: source) }
    var base: [any ByteSource] = []
    if !header.base.isEmpty { for path in plan.basePaths { base.append(try WeightFile.open(path)) } }
    let listener = listener
    let writer = try ArchiveWriter(source, header, base: base, to: unfinished, workers: workers) { count in
      listener.receive(.advanced(bytes: count))
    }
    _ = try writer.write(resume: plan.options.policy.resume, fingerprint: fingerprint)
    if plan.isFolder { try FileSystem.rename(unfinished, to: target) }
    return PackingReport.Packed(entry.name, try ArchivedFile(at: target))
  }

  private func compare(_ entry: PackingPlan.Entry) throws(Problem) {
    // The base is looked for from where the folder will be, as deep as it is now.
    let archive = try ArchivedFile(at: target(entry), baseFolder: nil)
    let listener = listener
    try ArchiveReading.compare(archive, with: try File.reading(entry.path), workers: workers) { count in
      listener.receive(.advanced(bytes: count))
    }
  }

  /// What the folder holds, for `verify`.
  ///
  /// - Parameter digests: of the files that were copied.
  private func list(_ digests: [Digest]) -> JSON {
    var digests = digests[...]
    let files = plan.entries.map { entry in
      var file: JSON = [
        "name": .string(entry.name), "bytes": .number(entry.byteCount), "packed": .bool(entry.header != nil),
      ]
      if entry.header == nil, let digest = digests.popFirst() { file["xxh3"] = .string(digest.description) }
      return file
    }
    return ["espalier_packed": 1, "files": .array(files)]
  }
}
