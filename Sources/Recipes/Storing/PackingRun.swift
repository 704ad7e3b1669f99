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
    return try PackingRun(plan: plan, place: plan.place, workers: workers, listener: listener).execute()
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
    let held = try place.begin(fingerprint: inputs)
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
    try lossy?.requireGoal(of: report.bytesAfter)
    let digests = try plan.entries.map { (entry) throws(Problem) in
      entry.header == nil ? try FileCopy.copy(entry.path, to: target(entry)) : nil
    }
    began = Machine.monotonicSeconds
    listener.receive(.began(stage: "read back", totalBytes: plan.byteCount))
    for (index, entry) in plan.entries.enumerated() {
      let isRounded = lossy != nil && entry.header != nil
      try compare(entry, with: isRounded ? lossy?.path(of: index) ?? entry.path : entry.path)
    }
    report.secondsReadBack = Machine.monotonicSeconds - began
    listener.receive(.ended(stage: "read back", seconds: report.secondsReadBack))
    try InputIdentities.requireUnchanged(paths, since: inputs)
    try lossy?.clear()
    if plan.isFolder {
      let told = lossy == nil ? [] : try tell(report)
      let files = zip(plan.entries, digests).map { entry, digest in
        PackedList.File(
          name: entry.name, byteCount: entry.byteCount, isPacked: entry.header != nil, digest: digest)
      }
      let list = PackedList(files + told)
      try FileSystem.write(list.json.bytes(pretty: true), to: "\(place.partial)/\(PackedList.fileName)")
    }
    try finish()
    return report
  }

  /// Gives the output its name. Of a model that it takes the place of, what was packed and read back goes, nothing else.
  private func finish() throws(Problem) {
    guard plan.options.replaces else { return try place.finish() }
    guard plan.isFolder else {
      try place.finish()
      return try FileSystem.remove(plan.model)
    }
    let names = plan.entries.map(\.name)
    let known = Set(names.map { ExactString($0) })
    for (name, path) in try PackingPlan.files(of: plan.model) where !known.contains(ExactString(name)) {
      throw Problem(
        .packingInput, "\(name) came to the model's folder while it was packed",
        remedy: "Nothing was replaced. Pack it again, with --force.", file: path)
    }
    try place.finish(replacing: names)
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

  /// Reads back what was written.
  ///
  /// - Parameter source: the file that has to come back.
  /// - Throws: `archive.damaged` for what is not as it was, what reading throws; what was written is gone then, so that no
  ///   later run takes it for finished.
  private func compare(_ entry: PackingPlan.Entry, with source: String) throws(Problem) {
    let (target, original, listener) = (target(entry), try File.reading(source), listener)
    do throws(Problem) {
      guard entry.header != nil else {
        guard try FileSpans.areEqual(original, try File.reading(target), workers: workers) else {
          throw Problem(
            .archiveDamaged, "what was copied is not what comes back",
            remedy: "Nothing was replaced. Check the disk and the memory, and pack it again.", file: target)
        }
        return listener.receive(.advanced(bytes: entry.byteCount))
      }
      // The base is looked for from where the folder will be, as deep as it is now.
      let archive = try ArchivedFile(at: target, baseFolder: nil)
      try ArchiveReading.compare(archive, with: original, workers: workers) { count in
        listener.receive(.advanced(bytes: count))
      }
    } catch {
      if let file = error.context.file, ExactString(file) == ExactString(target) { try? FileSystem.remove(target) }
      throw error
    }
  }

  /// Writes what was lost beside what was packed, unless the model has files of these names.
  private func tell(_ report: PackingReport) throws(Problem) -> [PackedList.File] {
    var told: [PackedList.File] = []
    for (name, text) in [("REPORT.md", report.markdown), ("report.json", report.loss.text(pretty: true))]
    where !plan.entries.contains(where: { ExactString($0.name) == ExactString(name) }) {
      let path = "\(place.partial)/\(name)"
      let bytes = Array((text + "\n").utf8)
      try FileSystem.write(bytes, to: path)
      told.append(
        PackedList.File(
          name: name, byteCount: bytes.count, isPacked: false, digest: try FileCopy.digest(of: path)))
    }
    return told
  }
}
