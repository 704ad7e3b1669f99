internal import CKernels
internal import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNumerics

/// Codes with scales, as GPTQ, AWQ and compressed-tensors have them, as blocks of a type that has their levels: the codes
/// stay what they are, and are not chosen anew.
///
/// ```
/// W = scale (code - zero)
/// Q4_0 Q5_0 Q8_0            d = scale                          code - zero from -8, -16, -128 to 7, 15, 127
/// Q4_1 Q5_1                 d = scale, m = -scale zero         codes to 15, 31; m rounded to a half where it is none
/// Q3_K Q6_K                 d = scale, all sub-scales 1        code - zero from -4, -32 to 3, 31
/// Q2_K Q4_K Q5_K            d = dmin = scale, all sub-scales 1, all minima zero          codes to 3, 15, 31
/// ```
///
/// A block has to lie inside a group, and every scale has to be a half. Then all but Q4_1 and Q5_1 give the very numbers;
/// those two do where every scale · zero is a half, and are otherwise off by half a unit in the last place of it.
struct PackedBlockRows: BlockRows {
  private let storage: PackedStorage
  private let type: BlockType
  private let levels: Levels
  private let tables: PackedTables
  /// Rows of codes, packed; nil where the file has them so.
  private let kept: AlignedBuffer?
  private let file: any ByteSource
  let rowBytes: Int

  /// - Throws: what reading codes and scales throws. Nil for codes and scales that the type does not hold.
  init?(_ storage: PackedStorage, as type: BlockType, files: FilePool) throws(Problem) {
    guard let levels = Levels(type), let tables = try Self.tables(of: storage, as: type, files: files) else {
      return nil
    }
    (self.storage, self.type, self.levels, self.tables) = (storage, type, levels, tables)
    rowBytes = type.byteCount(of: storage.columns)
    do throws(Problem) {
      file = try files.file(storage.codes.file)
      guard storage.coding.isTransposed else {
        kept = nil
        return
      }
      // Decoding reads past the last code.
      let rows = try AlignedBuffer(byteCount: storage.rows * storage.rowWords * 4 + 8)
      try storage.readCodes(into: rows.address, files: files)
      kept = rows
    } catch { throw error.at(file: storage.codes.file, tensor: storage.name) }
  }

  /// Whether blocks of the type hold the matrix, whatever its scales are, or may for some zero points.
  static func mayHold(_ storage: PackedStorage, as type: BlockType) -> Bool {
    guard let levels = Levels(type), storage.columns % type.blockLength == 0,
      storage.coding != .elements || storage.codes.elementType == .i8,
      storage.groupIndices != nil || storage.groupCount == 1 || storage.groupSize % type.blockLength == 0
    else { return false }
    let codes = codes(of: storage)
    guard storage.zeros == nil else {
      return codes.contains { levels.hold(codes, zero: $0, scale: 1) }
    }
    return levels.hold(codes, zero: storage.coding == .elements ? 0 : 1 << (storage.bits - 1), scale: 1)
  }

  /// What codes there may be.
  private static func codes(of storage: PackedStorage) -> ClosedRange<Int> {
    storage.coding == .elements ? -128...127 : 0...(1 << storage.bits - 1)
  }

  /// The scales of a matrix that blocks of the type hold; nil if they do not.
  static func tables(
    of storage: PackedStorage, as type: BlockType, files: FilePool
  ) throws(Problem) -> PackedTables? {
    guard mayHold(storage, as: type), let levels = Levels(type) else { return nil }
    let codes = codes(of: storage)
    let tables: PackedTables
    do throws(Problem) { tables = try PackedTables(storage, files: files) } catch {
      throw error.at(file: storage.codes.file, tensor: storage.name)
    }
    guard tables.areAlike(inRunsOf: type.blockLength, columns: storage.columns) else { return nil }
    let holds = tables.allLevels { scale, zero in
      let half = Half(scale)
      guard scale.isFinite, half.value == scale, let zero = Int(exactly: zero), codes.contains(zero) else {
        return false
      }
      return levels.hold(codes, zero: zero, scale: scale)
    }
    return holds ? tables : nil
  }

  func read(rows: Range<Int>, into destination: UnsafeMutableRawPointer) throws(Problem) {
    let (columns, length) = (storage.columns, type.blockLength)
    let isSigned = storage.coding == .elements
    let codeBytes = isSigned ? columns : storage.rowWords * 4
    let stream = try AlignedBuffer(byteCount: codeBytes + 8)
    let values = try AlignedBuffer(count: columns, of: Float.self)
    let codes = try AlignedBuffer(byteCount: length)
    guard let value = values.floats.baseAddress else { return }
    let code = codes.address.assumingMemoryBound(to: UInt8.self)
    for row in rows {
      var source = stream.address
      if let kept {
        source = kept.address + row * codeBytes
      } else {
        let bytes = UnsafeMutableRawBufferPointer(start: source, count: codeBytes)
        do throws(Problem) { try file.read(into: bytes, at: storage.codes.offset + row * codeBytes) } catch {
          throw error.at(tensor: storage.codes.name)
        }
      }
      if isSigned {
        ElementType.i8.decode(source, into: value, count: columns)
      } else {
        es_packed_decode(source, Int32(storage.bits), 0, value, Int64(columns))
      }
      let target = (destination + (row - rows.lowerBound) * rowBytes).assumingMemoryBound(to: UInt8.self)
      for block in 0..<columns / length {
        let place = target + block * type.blockBytes
        let (scale, zero) = tables.level(row: row, column: block * length)
        let shift = levels.shift(zero: Int(zero), isSigned: isSigned)
        let from = value + block * length
        // -128 in Q8_0 is the code -1, or 255: counted from -127 it has the bits of -128 again.
        for index in 0..<length { code[index] = UInt8(truncatingIfNeeded: Int32(from[index]) + shift) }
        levels.putScales(scale, zero: Int(zero) + (isSigned ? 128 : 0), into: place)
        es_block_put_codes(levels.native, code, place)
      }
    }
  }
}

/// A number rounded to a half.
private struct Half {
  let bits: UInt16
  let value: Float

  init(_ number: Float) {
    var (bits, value): (UInt16, Float) = (0, 0)
    withUnsafePointer(to: number) { ElementType.f16.encode($0, into: &bits, count: 1) }
    withUnsafePointer(to: bits) { ElementType.f16.decode($0, into: &value, count: 1) }
    (self.bits, self.value) = (bits, value)
  }

  func put(at place: UnsafeMutablePointer<UInt8>) {
    place[0] = UInt8(truncatingIfNeeded: bits)
    place[1] = UInt8(bits >> 8)
  }
}

/// What levels the blocks of a type have where all sub-blocks are alike, and how their bytes say so.
private struct Levels {
  private let type: BlockType
  let native: Int32
  /// The code of zero; nil where each block has its own least level.
  private let zero: Int?
  /// The largest code.
  private let top: Int

  init?(_ type: BlockType) {
    let kind: es_quantized_type
    switch type {
    case .q4_0: (kind, zero, top) = (es_quantized_q4_0, 8, 15)
    case .q5_0: (kind, zero, top) = (es_quantized_q5_0, 16, 31)
    // Counted from -127.
    case .q8_0: (kind, zero, top) = (es_quantized_q8_0, 127, 254)
    case .q4_1: (kind, zero, top) = (es_quantized_q4_1, nil, 15)
    case .q5_1: (kind, zero, top) = (es_quantized_q5_1, nil, 31)
    case .q2_K: (kind, zero, top) = (es_quantized_q2_K, nil, 3)
    case .q3_K: (kind, zero, top) = (es_quantized_q3_K, 4, 7)
    case .q4_K: (kind, zero, top) = (es_quantized_q4_K, nil, 15)
    case .q5_K: (kind, zero, top) = (es_quantized_q5_K, nil, 31)
    case .q6_K: (kind, zero, top) = (es_quantized_q6_K, 32, 63)
    default: return nil
    }
    self.type = type
    native = Int32(bitPattern: kind.rawValue)
  }

  /// Whether all of some codes with a zero point have their levels.
  func hold(_ codes: ClosedRange<Int>, zero own: Int, scale: Float) -> Bool {
    if let zero {
      let least = type == .q8_0 ? -1 : 0
      return codes.lowerBound - own + zero >= least && codes.upperBound - own + zero <= top
    }
    guard codes.count <= top + 1 else { return false }
    let least = own - codes.lowerBound
    switch type {
    // Minima are whole multiples, of 4 or 6 bits.
    case .q2_K: return (0...15).contains(least)
    case .q4_K, .q5_K: return (0...63).contains(least)
    default: return Half(scale * Float(least)).value.isFinite
    }
  }

  /// What a stored code becomes a block's by.
  func shift(zero own: Int, isSigned: Bool) -> Int32 {
    Int32(zero.map { $0 - own } ?? (isSigned ? 128 : 0))
  }

  /// Writes scales and minima of a block whose levels are `scale (code - zero)`, codes counted from 0.
  func putScales(_ scale: Float, zero own: Int, into block: UnsafeMutablePointer<UInt8>) {
    let half = Half(scale)
    let least = UInt8(truncatingIfNeeded: own)
    switch type {
    case .q4_1, .q5_1:
      half.put(at: block)
      Half(-(scale * Float(own))).put(at: block + 2)
    case .q2_K:
      block.update(repeating: 1 | least << 4, count: 16)
      half.put(at: block + 80)
      half.put(at: block + 82)
    case .q3_K:
      // 32 + 1 in 16 times 6 bits: the lower four, then the upper two.
      (block + 96).update(repeating: 0x11, count: 8)
      (block + 104).update(repeating: 0xAA, count: 4)
      half.put(at: block + 108)
    case .q4_K, .q5_K:
      half.put(at: block)
      half.put(at: block + 2)
      // 8 scales and 8 minima of 6 bits: four of each, whose upper bits have those of the others; the others' lower four.
      (block + 4).update(repeating: 1, count: 4)
      (block + 8).update(repeating: least & 63 | (least >> 4) << 6, count: 4)
      (block + 12).update(repeating: 1 | least << 4, count: 4)
    case .q6_K:
      (block + 192).update(repeating: 1, count: 16)
      half.put(at: block + 208)
    default: half.put(at: block)
    }
  }
}
