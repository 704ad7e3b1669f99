internal import CKernels
public import EspalierBasics
public import EspalierLinearMaps
internal import EspalierNumerics

extension PackedLayout {
  /// A quantized matrix as the tensors that a file stores it in, those of ``tensors(of:parameter:)``.
  ///
  /// Nothing is rounded: reading them gives the matrix back, number by number. Memory: the tensors, and codes once more.
  ///
  /// - Throws: what ``tensors(of:parameter:)`` throws; `checkpoint.packed` for scales of inputs, which no layout has, and
  ///   in ``gptq`` for a zero point of 0, which its readers take for different things.
  public func encode(_ matrix: QuantizedMatrix, parameter: String) throws(Problem) -> [ReducedEncoding.Part] {
    let tensors = try tensors(of: Form(matrix), parameter: parameter)
    guard matrix.inputScales == nil else {
      throw Problem(
        .checkpointPacked, "the layout \(rawValue) has no scales of inputs; they must be folded into what makes them",
        tensor: parameter)
    }
    if self == .gptq, matrix.zeros?.contains(0) ?? false {
      throw Problem(
        .checkpointPacked, "a zero point is 0, which readers of the layout gptq take for different things",
        remedy: "Write gptq_v2, or quantize symmetrically.", tensor: parameter)
    }
    return tensors.map { tensor in
      ReducedEncoding.Part(
        name: tensor.name, elementType: tensor.elementType, shape: tensor.shape,
        bytes: bytes(of: tensor, matrix))
    }
  }

  private func bytes(of tensor: Tensor, _ matrix: QuantizedMatrix) -> [UInt8] {
    let (rows, columns, bits) = (matrix.rows, matrix.columns, matrix.grid.bits)
    let groups = matrix.scaleColumns
    switch tensor.name.split(separator: ".").last {
    case "qweight":
      var words = Self.words(matrix.codes, rows: rows, columns: columns, bits: bits)
      let width = PackedStorage.words(columns, bits)
      var transposed = [UInt32](repeating: 0, count: tensor.byteCount / 4)
      if self == .awq {
        // Padding at the end of rows becomes rows that are cut off.
        transposed = [UInt32](repeating: 0, count: width * 8 * (rows / 8))
        es_packed_transpose_nibbles(&words, Int64(rows), Int64(width), &transposed, Int64(rows / 8))
        es_packed_interleave_nibbles(&transposed, Int64(transposed.count))
      } else {
        es_packed_transpose(&words, Int64(rows), Int64(width), &transposed, Int64(rows))
      }
      return Self.bytes(of: transposed.prefix(tensor.byteCount / 4))
    case "qzeros":
      let zeros = Self.transposed(Self.zeros(of: matrix), rows: rows, columns: groups)
      let stored = self == .gptq ? zeros.map { $0 &- 1 } : zeros
      var words = Self.words(stored, rows: groups, columns: rows, bits: bits)
      if self == .awq { es_packed_interleave_nibbles(&words, Int64(words.count)) }
      return Self.bytes(of: words[...])
    case "scales":
      return tensor.elementType.bytes(Self.transposed(matrix.scales, rows: rows, columns: groups))
    case "g_idx", "weight_g_idx":
      let own = matrix.groupOfColumn ?? (0..<columns).map { Int32($0 / matrix.tileColumns) }
      return Self.bytes(of: own[...])
    case "weight_packed":
      // Signed formats have their zero in the middle, where that of ternary codes is not.
      let shift = Self.middle(bits) - UInt8(matrix.grid.commonZero ?? Int(Self.middle(bits)))
      let codes = shift == 0 ? matrix.codes : matrix.codes.map { $0 + shift }
      return Self.bytes(of: Self.words(codes, rows: rows, columns: columns, bits: bits)[...])
    case "weight":
      if case .float = matrix.grid { return matrix.codes }
      return Self.signed(matrix.codes, around: matrix.grid.commonZero.map { UInt8($0) } ?? Self.middle(bits))
    case "weight_scale": return tensor.elementType.bytes(matrix.scales)
    case "weight_zero_point":
      let zeros = Self.zeros(of: matrix)
      guard tensor.elementType == .i32 else { return Self.signed(zeros, around: Self.middle(bits)) }
      var words = Self.words(
        Self.transposed(zeros, rows: matrix.scaleRows, columns: groups), rows: groups, columns: matrix.scaleRows,
        bits: bits)
      var across = [UInt32](repeating: 0, count: words.count)
      es_packed_transpose(&words, Int64(groups), Int64(words.count / groups), &across, Int64(groups))
      return Self.bytes(of: across[...])
    default:
      return Self.bytes(of: [Int64(rows), Int64(columns)][...])
    }
  }

  private static func middle(_ bits: Int) -> UInt8 { 1 << UInt8(bits - 1) }

  /// The zero of every scale.
  private static func zeros(of matrix: QuantizedMatrix) -> [UInt8] {
    matrix.zeros
      ?? [UInt8](repeating: UInt8(matrix.grid.commonZero ?? 0), count: matrix.scaleRows * matrix.scaleColumns)
  }

  /// Codes less their zero as signed bytes.
  private static func signed(_ codes: [UInt8], around zero: UInt8) -> [UInt8] { codes.map { $0 &- zero } }

  /// Each row of codes in whole words.
  private static func words(_ codes: [UInt8], rows: Int, columns: Int, bits: Int) -> [UInt32] {
    let width = PackedStorage.words(columns, bits)
    var words = [UInt32](repeating: 0, count: rows * width)
    codes.withUnsafeBufferPointer { codes in
      words.withUnsafeMutableBufferPointer { words in
        guard let from = codes.baseAddress, let into = words.baseAddress else { return }
        for row in 0..<rows { es_packed_encode(from + row * columns, Int32(bits), into + row * width, Int64(columns)) }
      }
    }
    return words
  }

  private static func transposed<T: BitwiseCopyable>(_ values: [T], rows: Int, columns: Int) -> [T] {
    [T](unsafeUninitializedCapacity: values.count) { target, count in
      for column in 0..<columns {
        for row in 0..<rows { target.initializeElement(at: column * rows + row, to: values[row * columns + column]) }
      }
      count = values.count
    }
  }

  private static func bytes<T: BitwiseCopyable>(of values: ArraySlice<T>) -> [UInt8] {
    values.withUnsafeBytes { Array($0) }
  }
}

extension ElementType {
  fileprivate func bytes(_ values: [Float]) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: values.count * byteWidth) { bytes, count in
      count = values.count * byteWidth
      if let start = bytes.baseAddress { encode(values, into: UnsafeMutableRawPointer(start), count: values.count) }
    }
  }
}
