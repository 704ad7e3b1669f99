internal import CKernels
internal import EspalierBasics
internal import EspalierNumerics

/// Floats that are integers times a step for each column (`lattice.h`), coded as the integers.
///
/// How large integers are differs by row and by column of a weight; both have classes, half an octave apart, whose sum is
/// the key of contexts. Coded, with w the elements of a row, f the column of the first element, and columns counted from
/// that one:
///
///     w, f                 4 bytes each
///     number of steps      1 to 16; the steps, float32
///     columns              min(w, elements) bytes, index of the step + 16 class, ``PlaneCoding``
///     rows                 two classes a byte, the lower half first, ``PlaneCoding``
///     symbols              ``ContextCoding``
///     bits                 of integers of 64 and more
enum LatticeCoding {
  private static let classes = 16

  /// The type that numbers are rounded to at the end; nil for what lies on no lattice.
  private static func elementType(of form: ElementForm) -> ElementType? {
    switch form.code {
    case 5: .f16
    case 6: .bf16
    case 7: .f32
    case 8: .f64
    default: nil
    }
  }

  /// Integers of a chunk with their symbols and classes.
  private struct Coded {
    var rows: [UInt8]
    var columns: [UInt8]
    var contexts: ContextCoding
    var restBits: Int

    var bits: Double { contexts.bits + 4 * Double(rows.count + columns.count) + Double(restBits) }
  }

  // MARK: - Encoding

  /// - Returns: false if the numbers do not lie on the lattice, to the bit; nothing is written then.
  static func encode(
    _ elements: UnsafeRawPointer, count: Int, of form: ElementForm, on lattice: ChunkLattice,
    to writer: inout CodedWriter, kernel: es_entropy_kernel
  ) -> Bool {
    let width = lattice.steps.count
    guard let type = elementType(of: form), width > 0, width < 1 << 31, (0..<width).contains(lattice.firstColumn) else {
      return false
    }
    let here = min(width, count)
    let steps = (0..<here).map { lattice.steps[($0 + lattice.firstColumn) % width] }
    var different: [Float] = []
    var indices = [UInt8](repeating: 0, count: here)
    for (column, step) in steps.enumerated() {
      guard step > 0, step.isFinite else { return false }
      if let index = different.firstIndex(of: step) {
        indices[column] = UInt8(index)
      } else {
        guard different.count < ChunkLattice.mostSteps else { return false }
        indices[column] = UInt8(different.count)
        different.append(step)
      }
    }
    let room = Scratch(byteCount: count * (8 + max(form.width, 2)))
    let integers = room.address.assumingMemoryBound(to: Int32.self)
    let values = (room.address + 4 * count).assumingMemoryBound(to: Float.self)
    let rest = room.address + 8 * count
    type.decode(elements, into: values, count: count)
    guard es_lattice_integers(values, Int64(count), steps, Int64(width), integers) else { return false }
    write(integers, count: count, steps: steps, width: width, of: type, values: values, elements: rest)
    guard mend(integers, count: count, steps: steps, width: width, of: type, written: rest, elements: elements) else {
      return false
    }

    let symbols = rest.assumingMemoryBound(to: UInt8.self)
    let keys = symbols + count
    let coded = code(integers, count: count, width: width, first: lattice.firstColumn, symbols: symbols, keys: keys)
    writer.append(integer: UInt32(width))
    writer.append(integer: UInt32(lattice.firstColumn))
    writer.append(UInt8(different.count))
    for step in different { writer.append(integer: step.bitPattern) }
    let payloadRoom = Scratch(byteCount: PlaneCoding.payloadSize(max(count, here)))
    let payload = payloadRoom.address.assumingMemoryBound(to: UInt8.self)
    func append(_ plane: [UInt8]) {
      plane.withUnsafeBufferPointer { plane in
        guard let address = plane.baseAddress else { return }
        PlaneCoding.encode(address, count: plane.count, to: &writer, payload: payload, kernel: kernel)
      }
    }
    append(zip(indices, coded.columns).map { $0 | $1 << 4 })
    append(
      stride(from: 0, to: coded.rows.count, by: 2).map { row in
        coded.rows[row] | (row + 1 < coded.rows.count ? coded.rows[row + 1] : 0) << 4
      })
    coded.contexts.encode(symbols, keys: keys, count: count, to: &writer, payload: payload, kernel: kernel)
    if coded.restBits > 0 {
      let bits = Scratch(byteCount: coded.restBits / 8 + 16)
      es_lattice_encode_rest(integers, Int64(count), bits.address.assumingMemoryBound(to: UInt8.self))
      writer.append(UnsafeRawBufferPointer(start: bits.address, count: (coded.restBits + 7) / 8))
    }
    return true
  }

  /// Finds integers for elements that the nearest ones are not written as: next to a power of two, where a type's numbers
  /// lie closer on one side, and in the middle between two it may be a neighbour.
  ///
  /// - Parameter written: what the integers are written as.
  /// - Returns: whether all elements have one.
  private static func mend(
    _ integers: UnsafeMutablePointer<Int32>, count: Int, steps: [Float], width: Int, of type: ElementType,
    written: UnsafeRawPointer, elements: UnsafeRawPointer
  ) -> Bool {
    let bytes = type.byteWidth
    let expected = UnsafeRawBufferPointer(start: elements, count: count * bytes)
    let found = UnsafeRawBufferPointer(start: written, count: count * bytes)
    guard !found.elementsEqual(expected) else { return true }
    return withUnsafeTemporaryAllocation(byteCount: bytes, alignment: 8) { room in
      for index in 0..<count {
        let place = index * bytes..<(index + 1) * bytes
        guard !found[place].elementsEqual(expected[place]) else { continue }
        let neighbour = [integers[index] + 1, integers[index] - 1].first { integer in
          guard integer.magnitude <= ES_LATTICE_MOST else { return false }
          var value = Float(integer) * steps[index % width]
          type.encode(&value, into: room.baseAddress!, count: 1)
          return room.elementsEqual(expected[place])
        }
        guard let neighbour else { return false }
        integers[index] = neighbour
      }
      return true
    }
  }

  /// Symbols, and classes if they save more than they take.
  private static func code(
    _ integers: UnsafePointer<Int32>, count: Int, width: Int, first: Int, symbols: UnsafeMutablePointer<UInt8>,
    keys: UnsafeMutablePointer<UInt8>
  ) -> Coded {
    let restBits = Int(es_lattice_symbols(integers, Int64(count), symbols))
    let (rowCount, columnCount) = ((first + count + width - 1) / width, min(width, count))
    var (rowSums, columnSums) = (
      [UInt64](repeating: 0, count: rowCount), [UInt64](repeating: 0, count: columnCount)
    )
    es_lattice_sums(integers, Int64(count), Int64(width), Int64(first), &rowSums, &columnSums)
    let mean = Double(rowSums.reduce(0, +)) / Double(count)
    let rows = rowSums.indices.map { row in
      let end = min((row + 1) * width, first + count)
      return level(rowSums[row], among: end - max(row * width, first), mean: mean)
    }
    let columns = columnSums.indices.map { column in
      level(columnSums[column], among: (count - column + width - 1) / width, mean: mean)
    }
    let room = Scratch(byteCount: 65536 * 4)
    let counts = room.address.assumingMemoryBound(to: UInt32.self)
    func attempt(_ rows: [UInt8], _ columns: [UInt8]) -> Coded {
      es_lattice_keys(rows, columns, Int64(count), Int64(width), Int64(first), keys)
      es_entropy_count_pairs(keys, symbols, Int64(count), counts)
      return Coded(rows: rows, columns: columns, contexts: ContextCoding(counts: counts), restBits: restBits)
    }
    let (noRows, noColumns) = ([UInt8](repeating: 8, count: rowCount), [UInt8](repeating: 8, count: columnCount))
    var best = attempt(noRows, noColumns)
    // What classes that are all alike take is next to nothing.
    var bits = best.contexts.bits
    for (rows, columns, taken) in [(rows, noColumns, rowCount), (rows, columns, rowCount + columnCount)] {
      let other = attempt(rows, columns)
      guard other.contexts.bits + 4 * Double(taken) < bits else { continue }
      (best, bits) = (other, other.contexts.bits + 4 * Double(taken))
    }
    es_lattice_keys(best.rows, best.columns, Int64(count), Int64(width), Int64(first), keys)
    return best
  }

  /// The class of a row or column: 8 + twice the logarithm to base 2 of its mean over that of all.
  private static func level(_ sum: UInt64, among count: Int, mean: Double) -> UInt8 {
    let ratio = (Double(sum) + 1) / (Double(count) * mean + 1)
    let significand = ratio.significand
    let half = significand < 0x1.306fe0a31b715p+0 ? 0 : significand < 0x1.ae89f995ad3adp+0 ? 1 : 2
    return UInt8(max(0, min(classes - 1, 2 * Int(ratio.exponent) + half + 8)))
  }

  /// About how many bits integers take, without their steps.
  static func bits(of integers: UnsafePointer<Int32>, count: Int, width: Int) -> Double {
    guard count > 0 else { return 0 }
    let room = Scratch(byteCount: 2 * count)
    let symbols = room.address.assumingMemoryBound(to: UInt8.self)
    let coded = code(integers, count: count, width: width, first: 0, symbols: symbols, keys: symbols + count)
    return coded.contexts.bits + Double(coded.restBits)
  }

  private static func write(
    _ integers: UnsafePointer<Int32>, count: Int, steps: [Float], width: Int, of type: ElementType,
    values: UnsafeMutablePointer<Float>, elements: UnsafeMutableRawPointer
  ) {
    es_lattice_values(integers, Int64(count), steps, Int64(width), values)
    type.encode(values, into: elements, count: count)
  }

  // MARK: - Decoding

  static func decode(
    into elements: UnsafeMutableRawPointer, count: Int, of form: ElementForm, from reader: inout CodedReader,
    kernel: es_entropy_kernel
  ) throws(Problem) {
    guard count > 0 else { return }
    guard let type = elementType(of: form) else { throw CodedReader.damaged("its type lies on no lattice") }
    let width = Int(try reader.integer(UInt32.self))
    let first = Int(try reader.integer(UInt32.self))
    guard width > 0, width < 1 << 31, first < width else { throw CodedReader.damaged("rows of \(width) elements") }
    let stepCount = Int(try reader.byte())
    guard (1...ChunkLattice.mostSteps).contains(stepCount) else { throw CodedReader.damaged("\(stepCount) steps") }
    var different: [Float] = []
    for _ in 0..<stepCount { different.append(Float(bitPattern: try reader.integer(UInt32.self))) }
    let rowCount = (first + count + width - 1) / width
    let columnPlane = try plane(min(width, count), from: &reader, kernel: kernel)
    let rowPlane = try plane((rowCount + 1) / 2, from: &reader, kernel: kernel)
    guard columnPlane.allSatisfy({ Int($0 & 15) < stepCount }) else { throw CodedReader.damaged("a step is missing") }
    let steps = columnPlane.map { different[Int($0 & 15)] }
    let rows = (0..<rowCount).map { rowPlane[$0 / 2] >> UInt8(4 * ($0 & 1)) & 15 }

    let contexts = try ContextCoding(from: &reader)
    guard contexts.lastSymbol < ES_LATTICE_SYMBOLS else { throw CodedReader.damaged("a symbol means nothing") }
    let room = Scratch(byteCount: 8 * count)
    let integers = room.address.assumingMemoryBound(to: Int32.self)
    let values = (room.address + 4 * count).assumingMemoryBound(to: Float.self)
    let symbols = (room.address + 4 * count).assumingMemoryBound(to: UInt8.self)
    let keys = symbols + count
    if contexts.starts.count > 1 {
      es_lattice_keys(rows, columnPlane.map { $0 >> 4 }, Int64(count), Int64(width), Int64(first), keys)
    }
    try contexts.decode(into: symbols, keys: keys, count: count, from: &reader, kernel: kernel)
    let coded = try reader.take(Int(es_lattice_measure_rest(symbols, Int64(count)) + 7) / 8)
    // They are read a little past their end.
    let bits = Scratch(byteCount: coded.count + 8)
    if let address = coded.baseAddress { bits.address.copyMemory(from: address, byteCount: coded.count) }
    es_lattice_decode(symbols, Int64(count), bits.address.assumingMemoryBound(to: UInt8.self), integers)
    write(integers, count: count, steps: steps, width: width, of: type, values: values, elements: elements)
  }

  private static func plane(
    _ count: Int, from reader: inout CodedReader, kernel: es_entropy_kernel
  ) throws(Problem) -> [UInt8] {
    var plane = [UInt8](repeating: 0, count: count)
    let result = plane.withUnsafeMutableBufferPointer { plane in
      Result { () throws(Problem) in
        guard let address = plane.baseAddress else { return }
        try ElementPlanes.decode(plane: address, count: count, from: &reader, kernel: kernel)
      }
    }
    try result.get()
    return plane
  }
}

/// How much lattices take, for those who choose them.
public enum LatticeSize {
  /// About how many bits integers are coded in, row after row, without their steps and classes.
  ///
  /// - Parameter width: integers of a row.
  public static func bits(of integers: UnsafeBufferPointer<Int32>, width: Int) -> Double {
    guard let address = integers.baseAddress, width > 0 else { return 0 }
    return LatticeCoding.bits(of: address, count: integers.count, width: width)
  }
}
