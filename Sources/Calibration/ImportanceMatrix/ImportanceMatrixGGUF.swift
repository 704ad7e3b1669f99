internal import EspalierBasics
internal import EspalierCheckpoints

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
  var ggufBytes: [UInt8] {
    var bytes = LittleEndianBytes()
    let sorted = entries.sorted { Array($0.name.utf8).lexicographicallyPrecedes(Array($1.name.utf8)) }
    bytes.text("GGUF")
    bytes.u32(3)
    bytes.u64(2 * sorted.count)
    bytes.u64(4)
    bytes.string("general.type")
    bytes.u32(8)
    bytes.string("imatrix")
    bytes.string("imatrix.datasets")
    bytes.u32(9)
    bytes.u32(8)
    bytes.u64(datasets.count)
    for dataset in datasets { bytes.string(dataset) }
    bytes.string("imatrix.chunk_count")
    bytes.u32(4)
    bytes.u32(chunkCount)
    bytes.string("imatrix.chunk_size")
    bytes.u32(4)
    bytes.u32(chunkSize)
    var offset = 0
    func describe(_ name: String, _ sizes: [Int]) {
      bytes.string(name)
      bytes.u32(2)
      for size in sizes { bytes.u64(size) }
      bytes.u32(0)
      bytes.u64(offset)
      offset += (4 * sizes[0] * sizes[1] + 31) / 32 * 32
    }
    for entry in sorted {
      describe("\(entry.name).in_sum2", [entry.width, entry.counts.count])
      describe("\(entry.name).counts", [1, entry.counts.count])
    }
    bytes.pad(to: 32)
    for entry in sorted {
      for values in [entry.squareSums, entry.counts] {
        for value in values { bytes.f32(Float(value)) }
        bytes.pad(to: 32)
      }
    }
    return bytes.bytes
  }
}

/// Bytes of a file, least significant first.
struct LittleEndianBytes {
  private(set) var bytes: [UInt8] = []

  mutating func text(_ text: String) { bytes += text.utf8 }
  mutating func u32(_ value: Int) { for i in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * i))) } }
  mutating func u64(_ value: Int) { for i in 0..<8 { bytes.append(UInt8(truncatingIfNeeded: value >> (8 * i))) } }
  mutating func f32(_ value: Float) { u32(Int(value.bitPattern)) }

  /// With its length before it.
  mutating func string(_ text: String) {
    u64(text.utf8.count)
    bytes += text.utf8
  }

  mutating func pad(to alignment: Int) {
    bytes += [UInt8](repeating: 0, count: (alignment - bytes.count % alignment) % alignment)
  }
}
