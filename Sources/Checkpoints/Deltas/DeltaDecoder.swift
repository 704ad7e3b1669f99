internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// Adds a coded change to ranges of a tensor. The codes are in memory for as long as it lives.
///
/// `out_i += scale * value_i`, the product and the sum each rounded to float32, whatever the range.
final class DeltaDecoder: @unchecked Sendable {
  private let tensor: DeltaTensor
  private let parts: [AlignedBuffer]
  private let product: LowRankProduct?
  /// For kept values: how many come before each block of 4,096 elements, and behind the last one.
  private let starts: [Int]
  private let random: KeyedRandom?

  /// - Throws: `delta.damaged` if the bytes are not those that were written.
  init(_ tensor: DeltaTensor, files: FilePool) throws(Problem) {
    self.tensor = tensor
    var parts: [AlignedBuffer] = []
    for (part, digest) in zip(tensor.parts, tensor.digests) {
      // Masks are read by words.
      let buffer = try AlignedBuffer(byteCount: (part.byteCount + 7) / 8 * 8)
      let tail = part.byteCount..<buffer.byteCount
      (buffer.address + tail.lowerBound).initializeMemory(as: UInt8.self, repeating: 0, count: tail.count)
      let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer.bytes[..<part.byteCount])
      do throws(Problem) { try files.file(part.file).read(into: bytes, at: part.offset) } catch {
        throw error.at(tensor: tensor.name)
      }
      guard ChunkedDigest.digest(of: UnsafeRawBufferPointer(bytes)) == digest else {
        throw Problem(
          .deltaDamaged, "the bytes of \(part.name) are not those that were written",
          remedy: "The file is damaged; fetch or make it again.", file: part.file, tensor: tensor.name)
      }
      parts.append(buffer)
    }
    let count = tensor.elementCount
    random = if case .random(let seed, _) = tensor.form { KeyedRandom(seed: seed, name: tensor.name) } else { nil }
    product =
      if case .lowRank = tensor.form {
        try LowRankProduct(
          a: tensor.parts[1], b: tensor.parts[0], scale: Float(tensor.scale), transposed: false, rows: tensor.rows,
          columns: tensor.columns, files: files)
      } else { nil }
    switch tensor.form {
    case .bitmap:
      let words = UnsafePointer(parts[0].values(of: UInt64.self).baseAddress!)
      starts = Self.starts(count) { block, length in Int(es_count_bits(words + 64 * block, Int64(length))) }
    case .random(_, let density):
      let room = try AlignedBuffer(byteCount: Self.roomBytes)
      let random = random
      starts = Self.starts(count) { block, length in
        let words = Self.draw(random, density: density, block: block, length: length, room: room.address)
        return Int(es_count_bits(words, Int64(length)))
      }
    default: starts = []
    }
    let values: StoredTensor? =
      switch tensor.form {
      case .bitmap: tensor.parts[1]
      case .random: tensor.parts[0]
      default: nil
      }
    self.parts = product == nil ? parts : []
    if let values, values.elementCount != starts.last ?? 0 {
      throw Problem(
        .deltaFormat, "there are \(values.elementCount) values and \(starts.last ?? 0) places for them",
        file: values.file, tensor: tensor.name)
    }
  }

  private static let block = CanonicalSum.blockLength

  private static func starts(_ count: Int, kept: (_ block: Int, _ length: Int) -> Int) -> [Int] {
    var starts = [0]
    starts.reserveCapacity(count / block + 2)
    for (index, range) in CanonicalSum.blocks(of: count).enumerated() {
      starts.append(starts[index] + kept(index, range.count))
    }
    return starts
  }

  // MARK: - Memory

  /// What ``residentBytes`` will be.
  static func residentBytes(of tensor: DeltaTensor) -> Int {
    switch tensor.form {
    case .lowRank: tensor.parts.reduce(0) { $0 + 4 * $1.elementCount }
    case .bitmap, .random:
      tensor.parts.reduce(0) { $0 + ($1.byteCount + 7) / 8 * 8 } + 8 * (tensor.elementCount / block + 2)
    default: tensor.parts.reduce(0) { $0 + ($1.byteCount + 7) / 8 * 8 }
    }
  }

  var residentBytes: Int { Self.residentBytes(of: tensor) }

  /// A block of floats and its mask.
  private static let roomBytes = 4 * block + block / 8

  /// Bytes of scratch for a range of any length.
  static func scratchBytes(of tensor: DeltaTensor) -> Int {
    if case .lowRank = tensor.form { 2 * alignedFloatBytes(tensor.columns) } else { roomBytes }
  }

  // MARK: - Decoding

  /// The bits of the elements of a block that a random choice keeps, in `room`.
  private static func draw(
    _ random: KeyedRandom?, density: Double, block index: Int, length: Int, room: UnsafeMutableRawPointer
  ) -> UnsafePointer<UInt64> {
    let ones = room.assumingMemoryBound(to: Float.self)
    let words = (room + 4 * block).assumingMemoryBound(to: UInt64.self)
    ones.update(repeating: 1, count: length)
    random?.keep(ones, startingAt: index * block, count: length, probability: density)
    es_pack_mask(ones, Int64(length), words)
    return UnsafePointer(words)
  }

  /// - Parameters:
  ///   - destination: the values of the base in `range`.
  ///   - scratch: ``scratchBytes(of:)``, 64-byte aligned.
  func add(_ range: Range<Int>, to destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer) {
    let scale = Float(tensor.scale)
    let floats = scratch.assumingMemoryBound(to: Float.self)
    if let product { return add(product, range, to: destination, row: floats) }
    switch tensor.form {
    case .ternary:
      es_add_trits(
        parts[0].address.assumingMemoryBound(to: UInt8.self), Int64(range.lowerBound), Int64(range.count), scale,
        destination)
    case .bitmap, .random: addKept(range, to: destination, scratch: scratch)
    case .rows8:
      let scales = parts[1].floats
      pieces(range, until: tensor.columns) { piece, row in
        ElementType.i8.decode(parts[0].address + piece.lowerBound, into: floats, count: piece.count)
        es_add_scaled(
          floats, scale * scales[row], destination + (piece.lowerBound - range.lowerBound), Int64(piece.count))
      }
    case .dense: addDense(0, scale, range, to: destination, floats)
    case .combination(let coefficients):
      for (index, coefficient) in coefficients.enumerated() {
        addDense(index, Float(tensor.scale * coefficient), range, to: destination, floats)
      }
    case .lowRank: break
    }
  }

  /// Cuts a range where rows of `length` elements end and every 4,096 elements.
  private func pieces(_ range: Range<Int>, until length: Int, _ body: (Range<Int>, _ row: Int) -> Void) {
    var start = range.lowerBound
    while start < range.upperBound {
      let row = start / max(1, length)
      let end = min(range.upperBound, (row + 1) * max(1, length), start + Self.block)
      body(start..<end, row)
      start = end
    }
  }

  private func addDense(
    _ part: Int, _ scale: Float, _ range: Range<Int>, to destination: UnsafeMutablePointer<Float>,
    _ floats: UnsafeMutablePointer<Float>
  ) {
    let type = tensor.parts[part].elementType
    pieces(range, until: .max) { piece, _ in
      type.decode(parts[part].address + piece.lowerBound * type.byteWidth, into: floats, count: piece.count)
      es_add_scaled(floats, scale, destination + (piece.lowerBound - range.lowerBound), Int64(piece.count))
    }
  }

  private func addKept(
    _ range: Range<Int>, to destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) {
    let (values, type) = (parts[parts.count - 1], tensor.parts[parts.count - 1].elementType)
    var index = range.lowerBound / Self.block
    while index * Self.block < range.upperBound {
      let first = index * Self.block
      let length = min(Self.block, tensor.elementCount - first)
      let words: UnsafePointer<UInt64>
      if case .random(_, let density) = tensor.form {
        words = Self.draw(random, density: density, block: index, length: length, room: scratch)
      } else {
        words = UnsafePointer(parts[0].values(of: UInt64.self).baseAddress!) + first / 64
      }
      // The ones of the draw are not needed any more.
      let floats = scratch.assumingMemoryBound(to: Float.self)
      type.decode(
        values.address + starts[index] * type.byteWidth, into: floats, count: starts[index + 1] - starts[index])
      let (from, to) = (max(range.lowerBound, first), min(range.upperBound, first + length))
      es_add_kept(
        words, Int64(from - first), Int64(to - first), floats, Float(tensor.scale),
        destination + (from - range.lowerBound))
      index += 1
    }
  }

  private func add(
    _ product: LowRankProduct, _ range: Range<Int>, to destination: UnsafeMutablePointer<Float>,
    row: UnsafeMutablePointer<Float>
  ) {
    let columns = product.columns
    guard columns > 0 else { return }
    let room = row + alignedFloatBytes(columns) / 4
    var start = range.lowerBound
    while start < range.upperBound {
      let index = start / columns
      let end = min(range.upperBound, (index + 1) * columns)
      row.update(repeating: 0, count: columns)
      product.add(row: index, to: row, product: room)
      es_add_scaled(row + (start - index * columns), 1, destination + (start - range.lowerBound), Int64(end - start))
      start = end
    }
  }

  /// All values of the change.
  func values() throws(Problem) -> [Float] {
    let scratch = try AlignedBuffer(byteCount: Self.scratchBytes(of: tensor))
    var values = [Float](repeating: 0, count: tensor.elementCount)
    values.withUnsafeMutableBufferPointer { buffer in
      if let start = buffer.baseAddress { add(0..<buffer.count, to: start, scratch: scratch.address) }
    }
    return values
  }
}

/// Reads a parameter to which a coded change is added.
final class ChangedReader: ParameterReader {
  private let base: any ParameterReader
  private let change: DeltaDecoder
  private let changeScratch: Int

  init(base: any ParameterReader, change: DeltaTensor, files: FilePool) throws(Problem) {
    self.base = base
    self.change = try DeltaDecoder(change, files: files)
    changeScratch = DeltaDecoder.scratchBytes(of: change)
  }

  var elementCount: Int { base.elementCount }
  var residentBytes: Int { base.residentBytes + change.residentBytes }
  func scratchBytes(for count: Int) -> Int { max(base.scratchBytes(for: count), changeScratch) }

  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    try base.read(range, into: destination, scratch: scratch)
    change.add(range, to: destination, scratch: scratch)
  }
}
