internal import CKernels
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNumerics

/// The last patch taken out of a model again: the verb `patch remove`.
public struct PatchRemoval: Sendable {
  let options: PatchOptions
  let model: PatchedModel
  /// Of the last patch.
  let record: PatchRecord

  /// - Throws: `patch` if the model has none; what stands at the output.
  public init(of path: String, options: PatchOptions) throws(Problems) {
    self.options = options
    let problems: [Problem]
    do throws(Problem) {
      model = try PatchedModel(at: path)
      guard let last = model.records.last else {
        throw Problem(
          .patch, "the model has no patch that could be removed", remedy: "Records lie in \(model.recordFolder).",
          file: path)
      }
      record = try PatchRecord(at: last)
      for file in record.files where self.file(file.name) == nil {
        throw Problem(.patchDamaged, "the record names the file \(file.name), which the model lacks", file: last)
      }
      problems = try PatchOutput.obstacles(to: options, like: model, adding: 0)
    } catch { throw Problems([error]) }
    guard problems.isEmpty else { throw Problems(problems) }
  }

  /// The name of a file of the record in the model: a single file may have another one since.
  private func file(_ name: String) -> String? {
    model.isFolder
      ? model.files.first { ExactString($0.name) == ExactString(name) }?.name
      : record.files.count == 1 ? model.files[0].name : nil
  }

  /// Restores the bytes from before the last patch and compares digests; the output appears whole or not at all.
  ///
  /// - Throws: `patch.damaged` if the model was changed since it was patched, or the record is damaged.
  public func run() throws(Problem) -> PatchRemovalReport {
    let pool = WorkerPool(threads: options.threads)
    defer { pool.stop() }
    let output = try PatchOutput(options, like: model)
    do throws(Problem) {
      let found = try output.copy(model, records: model.records.count - 1)
      for file in record.files {
        guard let name = self.file(file.name), found[ExactString(name)] == file.after else {
          throw Problem(
            .patchDamaged, "the file was changed since the patch was applied, so the patch cannot be taken out of it",
            file: model.isFolder ? "\(model.path)/\(file.name)" : model.path)
        }
        let path = output.path(of: name)
        let target = try File.writing(path)
        let header = try SafetensorsHeader(reading: target)
        let stored = Dictionary(
          header.tensors.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
        let tensors = record.tensors.filter { ExactString($0.file) == ExactString(file.name) }
        try pool.forEach(tensors.count) { (index) throws(Problem) in
          let tensor = tensors[index]
          guard let place = stored[ExactString(tensor.name)] else {
            throw Problem(.patchDamaged, "the model has no such tensor any more", tensor: tensor.name)
          }
          do throws(Problem) { try restore(tensor, place, in: target) } catch { throw error.at(tensor: tensor.name) }
        }
        try target.sync()
        guard try FileCopy.digest(of: path) == file.before else {
          throw Problem(
            .patchDamaged, "the restored file is not the one from before the patch", file: options.output)
        }
      }
      try output.commit()
      return PatchRemovalReport(
        output: options.output, delta: record.delta, scale: record.scale, left: model.records.count - 1)
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
