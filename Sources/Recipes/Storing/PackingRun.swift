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
    let lossy = plan.options.lossy.map {
      LossyRun(plan: plan, options: $0, place: place, workers: workers, listener: listener)
    }
    let inputs = JSON.object(
      [
        ("lossy", plan.options.lossy?.identity ?? .null),
        ("packing", .number(ArchiveHeader.formatVersion)), ("chunk", .number(plan.options.chunkBytes)),
        ("sha256", .bool(plan.options.hashes)), ("files", .number(plan.entries.count)),
      ] + (try InputIdentities.members(paths)))
    let held = try place.begin(fingerprint: inputs, policy: plan.options.policy)
    defer { withExtendedLifetime(held) {} }
    var report = PackingReport(of: plan)
    var began = Machine.monotonicSeconds
    let rounded = try lossy?.execute()
    let lattices = try rounded.flatMap { (rounded) throws(Problem) in try lossy?.lattices(rounded) } ?? [:]
    report.secondsRounding = Machine.monotonicSeconds - began
    began = Machine.monotonicSeconds
    listener.receive(.began(stage: "pack", totalBytes: plan.packed.reduce(0) { $0 + $1.byteCount }))
    for (index, entry) in plan.entries.enumerated() where entry.header != nil {
      var loss: ArchiveLoss?
      if let rounded {
        let places = plan.lossyTensors.indices.filter { plan.lossyTensors[$0].entry == index }
        loss = ArchiveLoss(parts: places.map { rounded.losses[$0] })
      }
      let packing = Packing(
        entry: entry, source: lossy?.path(of: index) ?? entry.path, loss: loss, lattices: lattices[index] ?? [:])
      report.add(try pack(packing, Digest(of: inputs.text())))
    }
    report.seconds = Machine.monotonicSeconds - began
    listener.receive(.ended(stage: "pack", seconds: report.seconds))
    began = Machine.monotonicSeconds
    listener.receive(.began(stage: "read back", totalBytes: plan.packed.reduce(0) { $0 + $1.byteCount }))
    for (index, entry) in plan.entries.enumerated() where entry.header != nil {
      try compare(entry, with: lossy?.path(of: index) ?? entry.path)
    }
    report.secondsReadBack = Machine.monotonicSeconds - began
    listener.receive(.ended(stage: "read back", seconds: report.secondsReadBack))
    var digests: [Digest] = []
    for entry in plan.entries where entry.header == nil {
      digests.append(try FileCopy.copy(entry.path, to: target(entry)))
    }
    try InputIdentities.requireUnchanged(paths, since: inputs)
    try lossy?.clear()
    if plan.isFolder {
      let told = lossy == nil ? [] : try tell(report)
      try FileSystem.write(list(digests, told).bytes(pretty: true), to: "\(place.partial)/\(PackedPlace.listName)")
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

  /// A file that is packed, with what is packed in its place if it lost something.
  private struct Packing {
    var entry: PackingPlan.Entry
    var source: String
    var loss: ArchiveLoss?
    var lattices: [Int: [Float]]
  }

  private func pack(_ packing: Packing, _ fingerprint: Digest) throws(Problem) -> PackingReport.Packed {
    let entry = packing.entry
    guard var header = entry.header else { throw Problem(.archiveFormat, "the file is not packed", file: entry.path) }
    let target = target(entry)
    // Until a file is whole it is told from one that is.
    let unfinished = plan.isFolder ? target + ".part" : target
    try FileSystem.createParents(of: target)
    if plan.isFolder, FileSystem.isFile(target) {
      listener.receive(.advanced(bytes: entry.byteCount))
      return PackingReport.Packed(entry.name, try ArchivedFile(at: target))
    }
    let source = try File.reading(packing.source)
    header.loss = packing.loss
    if header.sha256 != nil { header.sha256 = try FileHash.sha256(of: source) }
    var base: [any ByteSource] = []
    for index in entry.baseFiles { base.append(try WeightFile.bytes(of: plan.basePaths[index])) }
    let listener = listener
    let writer = try ArchiveWriter(
      source, header, base: base, lattices: packing.lattices, to: unfinished, workers: workers
    ) { count in
      listener.receive(.advanced(bytes: count))
    }
    _ = try writer.write(resume: plan.options.policy.resume, fingerprint: fingerprint)
    if plan.isFolder { try FileSystem.rename(unfinished, to: target) }
    return PackingReport.Packed(entry.name, try ArchivedFile(at: target))
  }

  /// - Parameter source: the file that has to come back.
  private func compare(_ entry: PackingPlan.Entry, with source: String) throws(Problem) {
    // The base is looked for from where the folder will be, as deep as it is now.
    let archive = try ArchivedFile(at: target(entry), baseFolder: nil)
    let listener = listener
    try ArchiveReading.compare(archive, with: try File.reading(source), workers: workers) { count in
      listener.receive(.advanced(bytes: count))
    }
  }

  /// Writes what was lost beside what was packed, unless the model has files of these names.
  private func tell(_ report: PackingReport) throws(Problem) -> [JSON] {
    var told: [JSON] = []
    for (name, text) in [("REPORT.md", report.markdown), ("report.json", report.loss.text(pretty: true))] {
      let path = "\(place.partial)/\(name)"
      guard FileSystem.kind(path) == nil else { continue }
      let bytes = Array((text + "\n").utf8)
      try FileSystem.write(bytes, to: path)
      told.append(
        [
          "name": .string(name), "bytes": .number(bytes.count), "packed": false,
          "xxh3": .string(try FileCopy.digest(of: path).description),
        ])
    }
    return told
  }

  /// What the folder holds, for `verify`.
  ///
  /// - Parameters:
  ///   - digests: of the files that were copied.
  ///   - told: entries of files that were added.
  private func list(_ digests: [Digest], _ told: [JSON]) -> JSON {
    var digests = digests[...]
    let files = plan.entries.map { entry in
      var file: JSON = [
        "name": .string(entry.name), "bytes": .number(entry.byteCount), "packed": .bool(entry.header != nil),
      ]
      if entry.header == nil, let digest = digests.popFirst() { file["xxh3"] = .string(digest.description) }
      return file
    }
    return ["espalier_packed": 1, "files": .array(files + told)]
  }
}
