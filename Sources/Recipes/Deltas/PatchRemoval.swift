internal import CKernels
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNumerics

/// The last patch taken out of a model again: the verb `patch remove`.
public struct PatchRemoval: Sendable {
  let options: PatchOptions
  let model: PatchedModel
  let records: [String]
  let last: PatchRecord

  /// - Throws: `patch` if the model has none.
  public init(of path: String, options: PatchOptions) throws(Problem) {
    self.options = options
    model = try PatchedModel(at: path)
    records = try model.records()
    guard let record = records.last else {
      throw Problem(
        .patch, "the model has no patch that could be removed", remedy: "Records lie in \(model.recordFolder).",
        file: path)
    }
    last = try PatchRecord(at: record)
  }

  /// Restores the bytes from before the last patch and compares digests; the output appears whole or not at all.
  ///
  /// - Throws: `patch.damaged` if the model was changed since it was patched, or the record is damaged.
  public func run() throws(Problem) -> PatchRemovalReport {
    let pool = WorkerPool(threads: options.threads)
    defer { pool.stop() }
    for file in last.files where try PatchedModel.digest(of: model.path(of: file.name), pool: pool) != file.after {
      throw Problem(
        .patchDamaged, "the file was changed since the patch was applied, so the patch cannot be taken out of it",
        file: model.path(of: file.name))
    }
    let output = try PatchOutput(at: options.output, like: model, force: options.force)
    do throws(Problem) {
      for file in try model.files() { try PatchedModel.copy(model.path(of: file), to: output.path(of: file)) }
      for (index, record) in records.dropLast().enumerated() {
        try PatchedModel.copy(record, to: output.record(index + 1))
      }
      for file in last.files {
        let target = try File.writing(output.path(of: file.name))
        let header = try SafetensorsHeader(reading: target)
        let stored = Dictionary(
          header.tensors.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
        let tensors = last.tensors.filter { $0.file == file.name }
        try pool.forEach(tensors.count) { (index) throws(Problem) in
          let tensor = tensors[index]
          guard let place = stored[ExactString(tensor.name)] else {
            throw Problem(.patchDamaged, "the model has no such tensor any more", tensor: tensor.name)
          }
          do throws(Problem) { try restore(tensor, place, in: target) } catch { throw error.at(tensor: tensor.name) }
        }
        try target.sync()
        guard try PatchedModel.digest(of: output.path(of: file.name), pool: pool) == file.before else {
          throw Problem(
            .patchDamaged, "the restored file is not the one from before the patch", file: options.output)
        }
      }
      try output.commit()
      return PatchRemovalReport(
        output: options.output, delta: last.delta, scale: last.scale, left: records.count - 1)
    } catch {
      output.discard()
      throw error
    }
  }

  private func restore(_ tensor: PatchRecord.Tensor, _ place: StoredTensor, in target: File) throws(Problem) {
    let (count, width) = (place.elementCount, place.elementType.byteWidth)
    let source = try File.reading(tensor.mask.file)
    func read(_ part: StoredTensor, _ digest: Digest) throws(Problem) -> [UInt8] {
      let bytes = try source.read(part.byteCount, at: part.offset)
      guard bytes.withUnsafeBytes({ ChunkedDigest.digest(of: $0) }) == digest else {
        throw Problem(.patchDamaged, "the record is damaged", file: source.path)
      }
      return bytes
    }
    let mask = try read(tensor.mask, tensor.digests[0])
    let originals = try read(tensor.originals, tensor.digests[1])
    let changed = mask.reduce(0) { $0 + $1.nonzeroBitCount }
    guard mask.count == (count + 7) / 8, originals.count == changed * width else {
      throw Problem(.patchDamaged, "the record does not fit the tensor", file: source.path)
    }
    let span = DeltaSource.spanLength
    let buffer = try AlignedBuffer(byteCount: min(span, count) * width)
    var used = 0
    for start in stride(from: 0, to: count, by: span) {
      let length = min(span, count - start)
      let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<(length * width)])
      try target.read(into: bytes, at: place.offset + start * width)
      used += Int(
        mask.withUnsafeBufferPointer { mask in
          originals.withUnsafeBytes { originals in
            es_scatter_changed(
              buffer.address, originals.baseAddress.map { $0 + used * width }, Int64(width), Int64(length),
              mask.baseAddress! + start / 8)
          }
        })
      try target.write(UnsafeRawBufferPointer(bytes), at: place.offset + start * width)
    }
  }
}

/// What was taken out.
public struct PatchRemovalReport: Sendable {
  public let output: String
  public let delta: String
  public let scale: Double
  /// Patches that the output still has.
  public let left: Int

  public var text: String {
    "\(output): the bytes from before \(delta) (scale \(scale)) are restored, digests agree; "
      + "\(left) patch\(left == 1 ? "" : "es") left"
  }

  public var json: JSON {
    [
      "event": "restored", "output": .string(output), "delta": .string(delta), "scale": .number(scale),
      "patches": .number(left),
    ]
  }
}
