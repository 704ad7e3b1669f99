internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// Turns consecutive results of one thread into stored bytes: rounds, hashes, and writes them in large pieces.
final class SpanWriter {
  static let bufferBytes = 256 << 10

  private let context: JobContext
  private let type: ElementType
  private let buffer: UnsafeMutableRawBufferPointer
  private var feed: ChunkedDigest.Feed
  private var filled = 0
  /// Bytes of the tensor before the buffer's first.
  private var offset: Int

  init(context: JobContext, digest: ChunkedDigest, firstElement: Int) {
    self.context = context
    type = context.outputTensor.elementType
    buffer = .allocate(byteCount: Self.bufferBytes, alignment: 64)
    offset = firstElement * type.byteWidth
    feed = ChunkedDigest.Feed(into: digest, at: offset)
  }

  deinit { buffer.deallocate() }

  func append(_ values: UnsafePointer<Float>, count: Int) throws(Problem) {
    var done = 0
    while done < count {
      let room = (buffer.count - filled) / type.byteWidth
      let piece = min(room, count - done)
      try requireRepresentable(values + done, piece)
      type.encode(values + done, into: buffer.baseAddress! + filled, count: piece)
      filled += piece * type.byteWidth
      done += piece
      if filled == buffer.count { try flush() }
    }
  }

  func flush() throws(Problem) {
    guard filled > 0 else { return }
    let bytes = UnsafeRawBufferPointer(rebasing: buffer[..<filled])
    feed.update(bytes)
    try context.write(bytes, at: offset)
    offset += filled
    filled = 0
  }

  /// A finite result beyond the type's range would become infinity (or NaN in f8e4m3) without anyone asking.
  private func requireRepresentable(_ values: UnsafePointer<Float>, _ count: Int) throws(Problem) {
    guard !context.allowsNonFinite else { return }
    let found = es_first_beyond(values, Int64(count), type.overflowThreshold)
    guard found >= 0 else { return }
    let element = (offset + filled) / type.byteWidth + Int(found)
    throw Problem(
      .nonFiniteOutput,
      "the result at element \(element) is \(values[Int(found)]), which \(type.safetensorsName) cannot hold",
      remedy: "Write it in a wider type, or give --allow-nonfinite.", tensor: context.outputTensor.name)
  }
}
