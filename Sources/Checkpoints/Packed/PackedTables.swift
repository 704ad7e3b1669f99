internal import CKernels
internal import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNumerics

/// Scales, zero points and groups of a packed matrix in memory, row by row of the matrix.
struct PackedTables: Sendable {
  private let groupSize: Int
  private let groupCount: Int
  private let blockRows: Int
  /// `[scaleRows, groups]`.
  private let scales: AlignedBuffer
  /// Of codes as they are packed; nil where all are ``symmetricZero``.
  private let zeros: AlignedBuffer?
  private let symmetricZero: Float
  /// The group of each column.
  private let groups: AlignedBuffer?

  init(_ storage: PackedStorage, files: FilePool) throws(Problem) {
    groupSize = storage.groupSize
    groupCount = storage.groupCount
    blockRows = storage.blockRows
    scales = try Self.scales(of: storage, files: files)
    zeros = try storage.zeros.map { (zeros) throws(Problem) in try Self.zeros(zeros, of: storage, files: files) }
    symmetricZero = storage.coding == .elements ? 0 : Float(1 << (storage.bits - 1))
    groups = try storage.groupIndices.flatMap { (indices) throws(Problem) in
      try Self.groups(indices, of: storage, files: files)
    }
  }

  /// Turns codes of `count` columns of a row into weights.
  func scale(_ values: UnsafeMutablePointer<Float>, count: Int, row: Int, column: Int) {
    let place = row / blockRows * groupCount
    guard let scales = scales.floats.baseAddress else { return }
    let zeros = zeros?.floats.baseAddress.map { UnsafePointer($0 + place) }
    let (n, first) = (Int64(count), Int64(column))
    if let groups = groups?.values(of: Int32.self).baseAddress {
      es_packed_scale_indexed(values, n, first, groups, scales + place, zeros, symmetricZero)
    } else {
      es_packed_scale(values, n, first, Int64(groupSize), scales + place, zeros, symmetricZero)
    }
  }

  /// The scale and the zero point of a column of a row.
  func level(row: Int, column: Int) -> (scale: Float, zero: Float) {
    let group = groups.map { Int($0.values(of: Int32.self)[column]) } ?? min(column / groupSize, groupCount - 1)
    let place = row / blockRows * groupCount + group
    return (scales.floats[place], zeros?.floats[place] ?? symmetricZero)
  }

  /// Whether runs of so many of all columns, one after the other, each have one scale in every row.
  func areAlike(inRunsOf length: Int, columns: Int) -> Bool {
    guard let groups = groups?.values(of: Int32.self) else { return groupCount == 1 || groupSize % length == 0 }
    return (0..<columns).allSatisfy { groups[$0] == groups[$0 / length * length] }
  }

  /// Every scale with its zero point.
  func allLevels(_ body: (_ scale: Float, _ zero: Float) -> Bool) -> Bool {
    let (scales, zeros) = (scales.floats, zeros?.floats)
    return scales.indices.allSatisfy { body(scales[$0], zeros?[$0] ?? symmetricZero) }
  }

  /// Writes what a matrix in memory has of these: scales, zero points less those of symmetric codes, the group of each
  /// column.
  func copy(into start: UnsafeMutableRawPointer, _ layout: PackedMatrix.Layout) {
    (start + layout.scalesStart).copyMemory(from: scales.address, byteCount: layout.scaleBytes)
    if let zeros = zeros?.floats {
      let target = (start + layout.zerosStart).assumingMemoryBound(to: Int8.self)
      for index in zeros.indices { target[index] = Int8(clamping: Int(zeros[index] - symmetricZero)) }
    }
    guard layout.ordersColumns else { return }
    let target = (start + layout.columnGroupsStart).assumingMemoryBound(to: Int32.self)
    if let groups = groups?.values(of: Int32.self) {
      for index in groups.indices { target[index] = groups[index] }
    } else {
      for index in 0..<layout.columns { target[index] = Int32(index / groupSize) }
    }
  }

  // MARK: - Loading

  private static func scales(of storage: PackedStorage, files: FilePool) throws(Problem) -> AlignedBuffer {
    try table(storage.scales, of: storage, files: files)
  }

  /// A table stored element by element.
  private static func table(
    _ tensor: StoredTensor, of storage: PackedStorage, files: FilePool
  ) throws(Problem) -> AlignedBuffer {
    let table = try AlignedBuffer(count: storage.scaleRows * storage.groupCount, of: Float.self)
    let width = tensor.elementCount / max(1, tensor.shape.first ?? 1)
    // A narrow element becomes four bytes.
    let band = storage.bandBytes * tensor.elementType.byteWidth / 4
    let values = try AlignedBuffer(byteCount: max(storage.bandBytes, width * 4))
    guard let from = values.floats.baseAddress, let target = table.floats.baseAddress else { return table }
    try tensor.readBands(try files.file(tensor.file), bytes: band) { first, count, bytes in
      tensor.elementType.decode(bytes, into: from, count: count * width)
      if storage.coding.isTransposed {
        transpose(from, rows: count, columns: width, into: target + first, stride: storage.groupCount)
      } else {
        (target + first * width).update(from: from, count: count * width)
      }
    }
    return table
  }

  private static func zeros(
    _ tensor: StoredTensor, of storage: PackedStorage, files: FilePool
  ) throws(Problem) -> AlignedBuffer {
    let file = try files.file(tensor.file)
    switch storage.coding {
    case .elements: return try table(tensor, of: storage, files: files)
    case .words(let bits) where tensor.elementType == .i32:
      return try zerosAcross(tensor, bits: bits, of: storage, file)
    case .words(let bits):
      let zeros = try table(tensor, of: storage, files: files)
      for index in zeros.floats.indices { zeros.floats[index] += Float(1 << (bits - 1)) }
      return zeros
    case .gptq, .awq:
      let (bits, rows) = (storage.bits, storage.rows)
      let table = try AlignedBuffer(count: rows * storage.groupCount, of: Float.self)
      let row = try AlignedBuffer(count: rows, of: Float.self)
      let words = tensor.shape[1]
      guard let values = row.floats.baseAddress, let target = table.floats.baseAddress else { return table }
      try tensor.readBands(file, bytes: storage.bandBytes) { first, count, bytes in
        if storage.coding == .awq {
          es_packed_order_nibbles(bytes.assumingMemoryBound(to: UInt32.self), Int64(count * words))
        }
        for index in 0..<count {
          es_packed_decode(bytes + index * words * 4, Int32(bits), 0, values, Int64(rows))
          if case .gptq(_, let offset) = storage.coding, offset != 0 { shift(values, count: rows, offset, bits: bits) }
          transpose(values, rows: 1, columns: rows, into: target + first + index, stride: storage.groupCount)
        }
      }
      return table
    }
  }

  /// Zero points that are packed along the rows of scales: `[scaleRows * bits / 32, groups]`.
  private static func zerosAcross(
    _ tensor: StoredTensor, bits: Int, of storage: PackedStorage, _ file: any ByteSource
  ) throws(Problem) -> AlignedBuffer {
    let (rows, groups, words) = (storage.scaleRows, storage.groupCount, tensor.shape[0])
    let table = try AlignedBuffer(count: rows * groups, of: Float.self)
    let streams = try AlignedBuffer(byteCount: tensor.byteCount + 8)
    let column = try AlignedBuffer(count: rows, of: Float.self)
    guard let target = table.floats.baseAddress, let values = column.floats.baseAddress else { return table }
    try tensor.readBands(file, bytes: storage.bandBytes) { first, count, bytes in
      es_packed_transpose(
        bytes.assumingMemoryBound(to: UInt32.self), Int64(count), Int64(groups),
        streams.address.assumingMemoryBound(to: UInt32.self) + first, Int64(words))
    }
    for group in 0..<groups {
      es_packed_decode(streams.address + group * words * 4, Int32(bits), 0, values, Int64(rows))
      transpose(values, rows: 1, columns: rows, into: target + group, stride: groups)
    }
    return table
  }

  /// Zero points as they are meant, of those that a file stores less `offset`.
  private static func shift(_ zeros: UnsafeMutablePointer<Float>, count: Int, _ offset: Int, bits: Int) {
    let limit = Float(1 << bits)
    for index in 0..<count {
      let zero = zeros[index] + Float(offset)
      zeros[index] = zero < limit ? zero : zero - limit
    }
  }

  private static func transpose(
    _ values: UnsafeMutablePointer<Float>, rows: Int, columns: Int, into target: UnsafeMutablePointer<Float>,
    stride: Int
  ) {
    // Floats are moved as the words they are.
    es_packed_transpose(
      UnsafeRawPointer(values).assumingMemoryBound(to: UInt32.self), Int64(rows), Int64(columns),
      UnsafeMutableRawPointer(target).assumingMemoryBound(to: UInt32.self), Int64(stride))
  }

  /// The group of each column; nil if columns are in groups as they come.
  private static func groups(
    _ tensor: StoredTensor, of storage: PackedStorage, files: FilePool
  ) throws(Problem) -> AlignedBuffer? {
    let buffer = try AlignedBuffer(count: storage.columns, of: Int32.self)
    do throws(Problem) {
      try files.file(tensor.file).read(into: buffer.bytes, at: tensor.offset)
      let indices = buffer.values(of: Int32.self)
      // What compressed-tensors writes where columns were left in their order.
      if !storage.coding.isTransposed, indices.contains(-1) {
        guard storage.groupCount == (storage.columns - 1) / storage.groupSize + 1 else {
          throw Problem(.checkpointPacked, "no column has a group, and \(storage.groupCount) groups do not fit")
        }
        return nil
      }
      if let column = indices.firstIndex(where: { !(0..<storage.groupCount).contains(Int($0)) }) {
        throw Problem(
          .checkpointPacked, "column \(column) is in group \(indices[column]) of \(storage.groupCount)")
      }
      // Most models say of every column what its place says.
      if indices.indices.allSatisfy({ Int(indices[$0]) == $0 / storage.groupSize }) { return nil }
    } catch { throw error.at(file: tensor.file, tensor: tensor.name) }
    return buffer
  }
}
