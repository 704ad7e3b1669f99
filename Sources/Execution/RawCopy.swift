public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNumerics

/// Jobs that carry stored bytes unchanged.
public enum RawCopy {
  private static let pieceBytes = 256 << 10

  /// Copies a stored tensor to the output, byte for byte. Input and output have one digest.
  public static func copy(_ tensor: StoredTensor, context: JobContext) throws(Problem) {
    let reader = try StoredReader(tensor, files: context.files)
    let digest = ChunkedDigest(byteCount: tensor.byteCount)
    try forEachPiece(of: [reader], context: context) { (offset, pieces, feed) throws(Problem) in
      feed(UnsafeRawBufferPointer(pieces[0]), digest)
      if !context.allowsNonFinite, tensor.elementType.containsNonFinite(UnsafeRawBufferPointer(pieces[0])) {
        throw Problem(
          .nonFiniteInput, "the input holds a NaN or an infinity near element \(offset / tensor.elementType.byteWidth)",
          remedy: "The model is damaged; give --allow-nonfinite to carry it all the same.", file: tensor.file,
          tensor: tensor.name)
      }
      try context.write(UnsafeRawBufferPointer(pieces[0]), at: offset)
    }
    context.read(tensor, digest.value())
    context.written(digest.value())
  }

  /// Copies the first of several stored tensors after making sure that all hold the same bytes.
  ///
  /// Of counters (tensors of one element, as the batches a normalization has seen) the first is carried with a warning
  /// if they differ.
  /// - Throws: ``Problem/Code/valuesDiffer`` if larger tensors differ.
  public static func copyIdentical(_ tensors: [StoredTensor], context: JobContext) throws(Problem) {
    if tensors[0].elementCount == 1 { return try copyFirst(tensors, context: context) }
    var readers: [StoredReader] = []
    for tensor in tensors { readers.append(try StoredReader(tensor, files: context.files)) }
    let digest = ChunkedDigest(byteCount: tensors[0].byteCount)
    try forEachPiece(of: readers, context: context) { (offset, pieces, feed) throws(Problem) in
      for (index, piece) in pieces.enumerated().dropFirst() where !piece.elementsEqual(pieces[0]) {
        throw Problem(
          .valuesDiffer,
          "the models disagree on a tensor of type \(tensors[0].elementType.safetensorsName), which cannot be averaged",
          remedy: "List its module under modules: with one model, or remove the tensor from the models.",
          file: tensors[index].file, tensor: tensors[index].name, byteOffset: tensors[index].offset + offset)
      }
      feed(UnsafeRawBufferPointer(pieces[0]), digest)
      try context.write(UnsafeRawBufferPointer(pieces[0]), at: offset)
    }
    for tensor in tensors { context.read(tensor, digest.value()) }
    context.written(digest.value())
  }

  private static func copyFirst(_ tensors: [StoredTensor], context: JobContext) throws(Problem) {
    let size = tensors[0].byteCount
    let values = UnsafeMutableRawBufferPointer.allocate(byteCount: 2 * size, alignment: 16)
    defer { values.deallocate() }
    let first = UnsafeMutableRawBufferPointer(rebasing: values[..<size])
    let other = UnsafeMutableRawBufferPointer(rebasing: values[size...])
    for (index, tensor) in tensors.enumerated() {
      let value = index == 0 ? first : other
      try StoredReader(tensor, files: context.files).readBytes(at: 0, into: value)
      context.read(tensor, ChunkedDigest.digest(of: UnsafeRawBufferPointer(value)))
      guard index > 0, !other.elementsEqual(first) else { continue }
      context.warn(
        Problem(
          .valuesDiffer, "the models disagree on a counter; it is carried from \(tensors[0].file)",
          file: tensor.file, tensor: tensor.name, severity: .warning))
    }
    try context.write(UnsafeRawBufferPointer(first), at: 0)
    context.written(ChunkedDigest.digest(of: UnsafeRawBufferPointer(first)))
  }

  private typealias Feed = (UnsafeRawBufferPointer, ChunkedDigest) -> Void

  /// Visits consecutive pieces of tensors of one length, chunk by chunk in parallel.
  private static func forEachPiece(
    of readers: [StoredReader], context: JobContext,
    _ body: (Int, [UnsafeMutableRawBufferPointer], Feed) throws(Problem) -> Void
  ) throws(Problem) {
    let byteCount = readers[0].tensor.byteCount
    let chunk = ChunkedDigest.chunkBytes
    try context.pool.forEach((byteCount + chunk - 1) / chunk) { (index) throws(Problem) in
      let arena = ScratchArena(bytes: readers.count * pieceBytes)
      var carver = arena.carver()
      let buffers = readers.map { _ in carver.bytes(pieceBytes) }
      var offset = index * chunk
      let end = min(byteCount, offset + chunk)
      var feed: ChunkedDigest.Feed?
      while offset < end {
        let count = min(pieceBytes, end - offset)
        let pieces = buffers.map { UnsafeMutableRawBufferPointer(start: $0, count: count) }
        for (reader, piece) in zip(readers, pieces) { try reader.readBytes(at: offset, into: piece) }
        try body(offset, pieces) { bytes, digest in
          if feed == nil { feed = ChunkedDigest.Feed(into: digest, at: offset) }
          feed?.update(bytes)
        }
        offset += count
      }
    }
  }
}

extension Problem.Code {
  public static let valuesDiffer = Problem.Code("values.differ")
}
