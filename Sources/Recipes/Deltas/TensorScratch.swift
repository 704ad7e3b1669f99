internal import CKernels
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics
internal import Synchronization

/// Parts of tensors that wait in a file of a prepared output until the sizes of all are known.
final class TensorScratch: Sendable {
  let path: String
  private let file: File
  private let end: Mutex<Int>

  /// - Parameters:
  ///   - folder: of the prepared output.
  ///   - taken: bytes at the beginning that an earlier run's parts take.
  init(in folder: String, after taken: Int = 0) throws(Problem) {
    path = folder + "/parts"
    file = try File.writing(path)
    end = Mutex(taken)
  }

  /// Room for a tensor; whoever has it writes it.
  func reserve(_ name: String, _ type: ElementType, _ shape: [Int]) -> StoredTensor {
    let bytes = shape.reduce(1, *) * type.byteWidth
    let offset = end.withLock { end in
      defer { end += (bytes + 63) / 64 * 64 }
      return end
    }
    return StoredTensor(name: name, elementType: type, shape: shape, file: path, offset: offset, byteCount: bytes)
  }

  func write(_ bytes: UnsafeRawBufferPointer, to tensor: StoredTensor, at offset: Int) throws(Problem) {
    try file.write(bytes, at: tensor.offset + offset)
  }

  /// The whole tensor.
  func write<Element: BitwiseCopyable>(_ values: [Element], to tensor: StoredTensor) throws(Problem) {
    let result: Result<Void, Problem> = values.withUnsafeBytes { bytes in
      Result { () throws(Problem) in try write(bytes, to: tensor, at: 0) }
    }
    try result.get()
  }

  private func forEachPiece(
    of tensor: StoredTensor, _ body: (UnsafeRawBufferPointer) throws(Problem) -> Void
  ) throws(Problem) {
    let piece = 1 << 18
    let buffer = try AlignedBuffer(byteCount: min(piece, tensor.byteCount))
    for start in stride(from: 0, to: tensor.byteCount, by: piece) {
      let part = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<min(piece, tensor.byteCount - start)])
      try file.read(into: part, at: tensor.offset + start)
      try body(UnsafeRawBufferPointer(part))
    }
  }

  /// The digest of a tensor that was written, and the bytes an order-0 coder would need for it at the least.
  func measure(_ tensor: StoredTensor) throws(Problem) -> (digest: Digest, entropyBytes: Double) {
    var counts = [Int64](repeating: 0, count: 256)
    let digest = ChunkedDigest(byteCount: tensor.byteCount)
    var feed = ChunkedDigest.Feed(into: digest, at: 0)
    try forEachPiece(of: tensor) { bytes in
      feed.update(bytes)
      es_count_bytes(bytes.bindMemory(to: UInt8.self).baseAddress, Int64(bytes.count), &counts)
    }
    let total = Double(tensor.byteCount)
    let bits = counts.filter { $0 > 0 }.reduce(0.0) { $0 - Double($1) * Elementary.log(Double($1) / total) }
    return (digest.value(), bits / Elementary.log(2) / 8)
  }

  /// Writes a safetensors file with these tensors, in this order, into a prepared output.
  ///
  /// - Returns: its size.
  func assemble(_ tensors: [StoredTensor], metadata: [(String, String)], to path: String) throws(Problem) -> Int {
    let target = try File.writing(path, truncate: true)
    let header = SafetensorsHeader.bytes(
      for: tensors.map { ($0.name, $0.elementType, $0.shape) }, metadata: metadata)
    try target.write(header, at: 0)
    var offset = header.count
    for tensor in tensors {
      try forEachPiece(of: tensor) { (bytes) throws(Problem) in
        try target.write(bytes, at: offset)
        offset += bytes.count
      }
    }
    try target.sync()
    return offset
  }

  func remove() throws(Problem) { try FileSystem.remove(path) }
}
