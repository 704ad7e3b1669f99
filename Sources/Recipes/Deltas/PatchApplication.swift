internal import CKernels
public import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNumerics

/// What a patch is asked for.
public struct PatchOptions: Sendable {
  public var output: String
  public var force = false
  public var threads = Machine.processorCount
  public var models: String?

  public init(output: String) { self.output = output }

  var policy: OutputFolder.Policy {
    var policy = OutputFolder.Policy(force: force)
    policy.canResume = false
    return policy
  }
}

/// A delta written into a model's files, so that it can be taken out again to the last bit: the verb `patch apply`.
///
/// Weight files keep their headers, order and padding; only bytes of changed tensors are others. What they were is kept
/// in a record beside the model (``PatchRecord``), whatever the arithmetic made of them.
public struct PatchApplication: Sendable {
  let options: PatchOptions
  let scale: Double
  let delta: DeltaFile
  let model: PatchedModel
  let origin: BaseIdentity
  /// Parameters with the change added, each stored plainly in one of the model's files.
  let changed: [(parameter: Parameter, stored: StoredTensor, file: String)]
  public let warnings: [Problem]

  /// - Parameters:
  ///   - model: a safetensors file, or a folder of them, patched before or not.
  ///   - scale: what the change is multiplied by.
  /// - Throws: `delta.base` for a delta of another base; `patch` for a model whose files cannot be patched.
  public init(
    of model: String, delta: String, scale: Double, options: PatchOptions, families: [Architecture]
  ) throws(Problems) {
    self.options = options
    self.scale = scale
    let locator = ModelLocator(recipeFolder: ".", models: options.models)
    let reference = ModelReference(parsing: model, line: 0)
    let base: any Checkpoint
    do throws(Problems) { base = try locator.open(reference, families: families) } catch {
      throw Problems(error.all.map(\.withoutLine))
    }
    do throws(Problem) {
      guard reference.adapter == nil else {
        throw Problem(
          .patch, "a model that consists of two has no files to patch", remedy: "`espalier convert` it first.")
      }
      self.model = try PatchedModel(at: try locator.locate(reference.path, revision: reference.revision, line: 0))
      self.delta = try DeltaFile(at: delta)
      if let last = self.model.records.last {
        origin = try PatchRecord(at: last).origin
        guard origin.sample == self.delta.base.sample else {
          throw Problem(
            .deltaBase, "the delta was made of another base than the patched model is of", file: delta)
        }
      } else {
        try self.delta.require(base)
        let pool = WorkerPool(threads: options.threads)
        defer { pool.stop() }
        origin = try BaseIdentity(of: base, workers: pool)
      }
    } catch { throw Problems([error]) }
    let opened = try DeltaCheckpoint(
      base: base, tensors: self.delta.tensors, adapterConfig: self.delta.adapterConfig, path: delta)
    var warnings = opened.warnings
    if self.model.records.isEmpty, let difference = self.delta.base.model.difference(from: origin.model) {
      warnings.append(
        Problem(
          .deltaBase, "the base has the values that the delta was made of, but is stored in other files: \(difference)",
          file: delta, severity: .warning))
    }
    self.warnings = warnings
    var problems = Problems()
    var changed: [(parameter: Parameter, stored: StoredTensor, file: String)] = []
    let known = base.parametersByName()
    for var parameter in opened.parameters {
      guard case .updated(let before, let shape, let update) = parameter.recipe,
        known[ExactString(parameter.name)]?.recipe == before
      else {
        if known[ExactString(parameter.name)] == nil {
          problems.add(Problem(.patch, "the delta adds a parameter, which a patch cannot", tensor: parameter.name))
        }
        continue
      }
      guard case .stored(let stored) = before else {
        problems.add(
          Problem(
            .patch, "the parameter is stored in another form than plain numbers",
            remedy: "`espalier convert` or `materialize` the model first.", tensor: parameter.name))
        continue
      }
      guard let file = self.model.name(of: stored.file) else {
        problems.add(
          Problem(
            .patch, "the file is packed, or is none of the model's folder",
            remedy: "`espalier unpack` the model first.",
            file: stored.file, tensor: parameter.name))
        continue
      }
      parameter.recipe = .updated(before, shape: shape, by: Self.scaled(update, by: scale))
      changed.append((parameter, stored, file))
    }
    self.changed = changed
    // What was there is written twice: as it is found, and into the record.
    let undone = changed.reduce(0) { $0 + $1.stored.byteCount + $1.parameter.elementCount / 8 + 64 }
    do throws(Problem) {
      problems.all += try PatchOutput.obstacles(to: options, like: self.model, adding: 2 * undone)
    } catch { problems.add(error) }
    guard problems.all.isEmpty else { throw problems }
  }

  private static func scaled(_ update: Update, by factor: Double) -> Update {
    switch update {
    case .delta(var change):
      change.scale *= factor
      return .delta(change)
    case .codedLowRank(let a, let b, let scale, let transposed):
      return .codedLowRank(a: a, b: b, scale: scale * Float(factor), transposed: transposed)
    default: return update
    }
  }

  /// Copies the files, changes them, and writes the record; the output appears whole or not at all.
  public func run(listener: any ProgressListener) throws(Problem) -> PatchReport {
    let start = Machine.monotonicSeconds
    let pool = WorkerPool(threads: options.threads)
    defer { pool.stop() }
    let output = try PatchOutput(options, like: model)
    do throws(Problem) {
      let scratch = try output.scratch()
      let earlier = model.records.count
      let before = try output.copy(model, records: earlier)
      listener.receive(.began(stage: "patch", totalBytes: changed.reduce(0) { $0 + $1.stored.byteCount }))
      let files = FilePool()
      let tensors = try pool.map(changed.count) { (index) throws(Problem) in
        let (parameter, stored, file) = changed[index]
        let target = try File.writing(output.path(of: file))
        defer { listener.receive(.advanced(bytes: stored.byteCount)) }
        do throws(Problem) {
          return try patch(parameter, stored, of: file, in: target, scratch: scratch, files: files)
        } catch { throw error.at(tensor: parameter.name) }
      }
      listener.receive(.ended(stage: "patch", seconds: Machine.monotonicSeconds - start))
      var patched: [PatchRecord.PatchedFile] = []
      for (name, digest) in before.sorted(by: { $0.key.text.utf8.lexicographicallyPrecedes($1.key.text.utf8) })
      where changed.contains(where: { ExactString($0.file) == name }) {
        let path = output.path(of: name.text)
        try File.writing(path).sync()
        patched.append(.init(name: name.text, before: digest, after: try FileCopy.digest(of: path)))
      }
      let record = PatchRecord(
        delta: FileSystem.lastComponent(of: delta.path), scale: scale, origin: origin, files: patched, tensors: tensors)
      let bytes = try scratch.assemble(
        tensors.flatMap { [$0.mask, $0.originals] }, metadata: record.metadata, to: output.record(earlier + 1))
      try scratch.remove()
      try output.commit()
      return PatchReport(
        output: options.output, patches: earlier + 1, tensors: tensors.count,
        changed: tensors.reduce(0) { $0 + $1.originals.shape[0] },
        elements: changed.reduce(0) { $0 + $1.parameter.elementCount }, recordBytes: bytes,
        seconds: Machine.monotonicSeconds - start)
    } catch {
      output.discard()
      throw error
    }
  }

  private func patch(
    _ parameter: Parameter, _ stored: StoredTensor, of file: String, in target: File, scratch: TensorScratch,
    files: FilePool
  ) throws(Problem) -> PatchRecord.Tensor {
    let (count, type) = (parameter.elementCount, stored.elementType)
    let width = type.byteWidth
    let mask = scratch.reserve("\(stored.name).mask", .u8, [(count + 7) / 8])
    // Room for all of them; what is not used takes no place in the file.
    var originals = scratch.reserve("\(stored.name).originals", .u8, [count, width])
    let reader = try parameter.recipe.reader(files: files)
    let span = min(DeltaSource.spanLength, max(1, count))
    let values = try AlignedBuffer(count: span, of: Float.self)
    let room = try AlignedBuffer(byteCount: max(64, reader.scratchBytes(for: span)))
    let (new, old) = (try AlignedBuffer(byteCount: span * width), try AlignedBuffer(byteCount: span * width))
    let bits = try AlignedBuffer(byteCount: (span + 7) / 8)
    let source = try files.file(stored.file)
    var kept = 0
    for start in stride(from: 0, to: count, by: span) {
      let range = start..<min(count, start + span)
      let floats = values.address.assumingMemoryBound(to: Float.self)
      try reader.read(range, into: floats, scratch: room.address)
      if let bad = firstNonfinite(floats, count: range.count) {
        throw Problem(
          .nonFiniteMatrix, "the patched value is not finite at element \(start + bad)",
          remedy: "Choose a smaller --scale.")
      }
      type.encode(floats, into: new.address, count: range.count)
      let bytes = UnsafeMutableRawBufferPointer(rebasing: old.bytes[..<(range.count * width)])
      try source.read(into: bytes, at: stored.offset + start * width)
      try target.write(
        UnsafeRawBufferPointer(rebasing: new.bytes[..<bytes.count]), at: stored.offset + start * width)
      let changed = Int(
        es_gather_changed(
          old.address, new.address, Int64(width), Int64(range.count), bits.address.assumingMemoryBound(to: UInt8.self)))
      try scratch.write(
        UnsafeRawBufferPointer(rebasing: bits.bytes[..<((range.count + 7) / 8)]), to: mask, at: start / 8)
      try scratch.write(
        UnsafeRawBufferPointer(rebasing: old.bytes[..<(changed * width)]), to: originals, at: kept * width)
      kept += changed
    }
    (originals.shape, originals.byteCount) = ([kept, width], kept * width)
    return PatchRecord.Tensor(
      name: stored.name, file: file, mask: mask, originals: originals,
      digests: [try scratch.measure(mask).digest, try scratch.measure(originals).digest])
  }
}

/// What a patch changed.
public struct PatchReport: Sendable {
  public let output: String
  /// How many patches the output has.
  public let patches: Int
  public let tensors: Int
  /// Elements whose bits are others, of those of the changed tensors.
  public let changed: Int
  public let elements: Int
  public let recordBytes: Int
  public let seconds: Double

  public var text: String {
    "\(output): \(changed) of \(elements) elements of \(tensors) tensors changed, "
      + "undo record \(ByteCount.text(recordBytes)), \(Decimals.text(seconds, 1)) s; "
      + "\(patches) patch\(patches == 1 ? "" : "es") in all"
  }

  public var json: JSON {
    [
      "event": "patched", "output": .string(output), "patches": .number(patches), "tensors": .number(tensors),
      "changed": .number(changed), "elements": .number(elements), "record_bytes": .number(recordBytes),
      "seconds": .number(seconds),
    ]
  }
}
