internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics

extension ImportanceMatrix {
  init(gguf path: String) throws(Problems) {
    let files = try GGUFFiles(at: path)
    let stored = try files.storedTensors()
    do throws(Problem) {
      let metadata = files.metadata
      guard metadata.text("general.type") == "imatrix" else {
        throw Problem(
          .importanceFormat, "the GGUF file is no importance matrix but \(metadata.text("general.type") ?? "a model")")
      }
      let tensors = Dictionary(stored.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
      let pool = FilePool()
      var entries: [Entry] = []
      for squares in stored where squares.name.utf8.suffix(8).elementsEqual(".in_sum2".utf8) {
        let name = String(squares.name.dropLast(8))
        guard let counts = tensors[ExactString(name + ".counts")] else {
          throw Problem(.importanceFormat, "there are sums of squares and no counts", tensor: name)
        }
        guard let width = squares.shape.last, width > 0, squares.elementCount == width * counts.elementCount else {
          throw Problem(
            .importanceFormat, "sums of the shape \(squares.shape) do not fit \(counts.elementCount) counts",
            tensor: name)
        }
        entries.append(
          Entry(
            name: name, width: width, counts: try counts.floats(files: pool).map(Double.init),
            squareSums: try squares.floats(files: pool).map(Double.init)))
      }
      guard !entries.isEmpty else { throw Problem(.importanceFormat, "the file has no sums of squares") }
      self.init(
        entries: entries,
        datasets: metadata.strings("imatrix.datasets")?.map { String(decoding: $0, as: UTF8.self) } ?? [],
        chunkCount: metadata.integer("imatrix.chunk_count") ?? 0,
        chunkSize: metadata.integer("imatrix.chunk_size") ?? 0)
    } catch { throw Problems([error.at(file: path)]) }
  }

  /// The GGUF form: entries by name, sums and counts in float32.
  ///
  /// - Throws: `gguf.tensor` for names that GGUF files do not allow.
  func ggufBytes() throws(Problem) -> [UInt8] {
    var metadata = GGUFMetadata()
    metadata.set("general.type", to: .text("imatrix"))
    metadata.set("imatrix.datasets", to: .strings(datasets.map { Array($0.utf8) }))
    metadata.set("imatrix.chunk_count", to: .u32(UInt32(clamping: chunkCount)))
    metadata.set("imatrix.chunk_size", to: .u32(UInt32(clamping: chunkSize)))
    var tensors: [(request: GGUFTensorRequest, values: [Double])] = []
    for entry in entries.sorted(by: { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }) {
      for (part, width, values) in [("in_sum2", entry.width, entry.squareSums), ("counts", 1, entry.counts)] {
        let request = try GGUFTensorRequest(
          name: "\(entry.name).\(part)", format: .elements(.f32), shape: [entry.counts.count, width])
        tensors.append((request, values))
      }
    }
    let header = try GGUFHeader.bytes(for: tensors.map(\.request), metadata: metadata)
    var data = LittleEndianBytes()
    for (tensor, offset) in zip(tensors, header.offsets) {
      data.pad(to: offset)
      for value in tensor.values { data.f32(Float(value)) }
    }
    data.pad(to: header.dataBytes)
    return header.bytes + data.bytes
  }
}

/// Bytes of a file, least significant first.
struct LittleEndianBytes {
  private(set) var bytes: [UInt8] = []

  mutating func text(_ text: String) { bytes += text.utf8 }
  mutating func u32(_ value: Int) { for i in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * i))) } }
  mutating func f32(_ value: Float) { u32(Int(value.bitPattern)) }

  /// Zeros up to a length.
  mutating func pad(to length: Int) { bytes += [UInt8](repeating: 0, count: max(0, length - bytes.count)) }
}
