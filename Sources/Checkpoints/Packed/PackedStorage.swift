public import EspalierBasics
public import EspalierNumerics

extension Problem.Code {
  /// A quantized layout in a checkpoint that is not read, or whose tensors do not fit each other.
  public static let checkpointPacked = Problem.Code("checkpoint.packed")
}

/// A matrix stored as codes of a few bits that share scales and zero points, in several tensors:
///
///     W[o, i] = scale[o, g(i)] * (code[o, i] - zero[o, g(i)])        W [rows, columns], g(i) the group of column i
///
/// The layouts are those of GPTQ, AWQ and compressed-tensors. All of them but ``Coding/elements`` pack codes side by
/// side in words of 32 bits, the lowest bits first, also across words (GPTQ's three words for 32 codes of 3 bits are
/// such a stream); they differ in what runs along the words.
public struct PackedStorage: Sendable, Hashable, Codable {
  public enum Coding: Sendable, Hashable, Codable {
    /// `qweight` [columns * bits / 32, rows], `qzeros` [groups, rows * bits / 32], `scales` [groups, rows]. The zero
    /// point is what is stored plus `zeroOffset`, modulo 2^bits: 1 in the first version of the layout, 0 in the second.
    case gptq(bits: Int, zeroOffset: Int)
    /// `qweight` [columns, rows / 8], `qzeros` [groups, rows / 8], `scales` [groups, rows]; of 8 codes of 4 bits in a
    /// word those with even numbers come first.
    case awq
    /// `weight_packed` [rows, columns * bits / 32], `weight_scale` [scaleRows, groups], `weight_zero_point`
    /// [scaleRows * bits / 32, groups]; codes and zero points are 2^(bits-1) more than the signed numbers they are.
    case words(bits: Int)
    /// `weight` [rows, columns] of 8-bit integers or floats, `weight_scale` and `weight_zero_point` [scaleRows, groups].
    case elements
  }

  /// The parameter's name.
  public let name: String
  public let coding: Coding
  public let rows: Int
  public let columns: Int
  /// Columns that share a scale; the last group may have fewer. Without meaning where there are ``groupIndices``.
  public let groupSize: Int
  /// Groups of columns.
  public let groupCount: Int
  /// Rows that share a scale.
  public let blockRows: Int
  public let codes: StoredTensor
  public let scales: StoredTensor
  /// Where there is none, the zero point is that of symmetric codes.
  public let zeros: StoredTensor?
  /// The group of each column, where columns were quantized in another order than they have.
  public let groupIndices: StoredTensor?

  /// - Parameter groupSize: nil means one group.
  /// - Throws: `checkpoint.packed` unless the tensors have the types and shapes that the layout says.
  init(
    name: String, coding: Coding, rows: Int, columns: Int, groupSize: Int?, blockRows: Int = 1, codes: StoredTensor,
    scales: StoredTensor, zeros: StoredTensor? = nil, groupIndices: StoredTensor? = nil
  ) throws(Problem) {
    guard rows > 0, columns > 0, [rows, columns].checkedProduct != nil, groupSize ?? 1 > 0, blockRows > 0 else {
      throw Problem(
        .checkpointPacked, "a matrix of \(rows) x \(columns) with scales for \(blockRows) x \(groupSize ?? columns)",
        tensor: name)
    }
    self.name = name
    self.coding = coding
    self.rows = rows
    self.columns = columns
    self.groupSize = min(groupSize ?? columns, columns)
    self.blockRows = min(blockRows, rows)
    if groupIndices != nil, let count = scales.shape.first {
      groupCount = coding.isTransposed ? count : scales.shape.last ?? count
    } else {
      groupCount = (columns - 1) / self.groupSize + 1
    }
    self.codes = codes
    self.scales = scales
    self.zeros = zeros
    self.groupIndices = groupIndices
    try validate()
  }

  /// Rows of scales.
  public var scaleRows: Int { (rows - 1) / blockRows + 1 }

  /// The type that the product of codes and scales is rounded to where nothing else is asked for.
  public var elementType: ElementType { scales.elementType }

  /// Bits of a code.
  public var bits: Int {
    switch coding {
    case .gptq(let bits, _), .words(let bits): bits
    case .awq: 4
    case .elements: 8
    }
  }

  /// The tensors, codes first.
  public var parts: [StoredTensor] { [codes, scales] + [zeros, groupIndices].compactMap { $0 } }

  /// What it is called where formats are listed: `GPTQ 4-bit`, `F8_E4M3 scaled`.
  public var formatName: String {
    switch coding {
    case .gptq(let bits, _): "GPTQ \(bits)-bit"
    case .awq: "AWQ 4-bit"
    case .words(let bits): "packed \(bits)-bit"
    case .elements: "\(codes.elementType.safetensorsName) scaled"
    }
  }

  // MARK: - Validation

  private func validate() throws(Problem) {
    guard scales.elementType == .f16 || scales.elementType == .bf16 || scales.elementType == .f32 else {
      throw Problem(
        .checkpointPacked, "scales are stored in \(scales.elementType.safetensorsName)", tensor: scales.name)
    }
    switch coding {
    case .gptq(let bits, _):
      try require(codes, .i32, [[Self.words(columns, bits), rows]])
      try require(scales, scales.elementType, [[groupCount, rows]])
      if let zeros { try require(zeros, .i32, [[groupCount, Self.words(rows, bits)]]) }
    case .awq:
      try require(codes, .i32, [[columns, Self.words(rows, 4)]])
      guard rows % 8 == 0 else {
        throw Problem(.checkpointPacked, "\(rows) outputs are not a multiple of 8", tensor: codes.name)
      }
      try require(scales, scales.elementType, [[groupCount, rows]])
      if let zeros { try require(zeros, .i32, [[groupCount, Self.words(rows, 4)]]) }
    case .words(let bits):
      try require(codes, .i32, [[rows, Self.words(columns, bits)]])
      try require(scales, scales.elementType, scaleShapes)
      guard let zeros else { break }
      if zeros.elementType == .i32 {
        try require(zeros, .i32, [[Self.words(scaleRows, bits), groupCount]])
      } else {
        try require(zeros, .i8, scaleShapes)
      }
    case .elements:
      guard [.i8, .f8e4m3, .f8e5m2].contains(codes.elementType) else {
        throw Problem(
          .checkpointPacked, "codes are stored in \(codes.elementType.safetensorsName)", tensor: codes.name)
      }
      try require(codes, codes.elementType, [[rows, columns]])
      try require(scales, scales.elementType, scaleShapes)
      // Levels are told from zero points as from codes: in integers.
      if let zeros { try require(zeros, codes.elementType == .i8 ? .i8 : zeros.elementType, scaleShapes) }
    }
    if let groupIndices { try require(groupIndices, .i32, [[columns]]) }
  }

  /// Scales of a row or of the whole may lack dimensions.
  private var scaleShapes: [[Int]] {
    var shapes = [[scaleRows, groupCount]]
    if groupCount == 1 { shapes.append([scaleRows]) }
    if groupCount == 1, scaleRows == 1 { shapes.append([]) }
    return shapes
  }

  private func require(_ part: StoredTensor, _ type: ElementType, _ shapes: [[Int]]) throws(Problem) {
    guard part.elementType == type, shapes.contains(part.shape) else {
      throw Problem(
        .checkpointPacked,
        "the tensor is \(part.elementType.safetensorsName) \(part.shape), and should be \(type.safetensorsName) "
          + "\(shapes[0]) in \(formatName) of \(rows) x \(columns) with \(groupCount) groups", tensor: part.name)
    }
  }

  /// Words that `count` codes take.
  static func words(_ count: Int, _ bits: Int) -> Int { (count * bits + 31) / 32 }

  // MARK: - Memory

  /// Words of a row of codes as it is kept in memory or stored.
  var rowWords: Int { Self.words(columns, bits) }

  /// Bytes of the tables of scales, zero points and groups in memory.
  private var tableBytes: Int {
    let table = scaleRows * groupCount * MemoryLayout<Float>.stride
    return table * (zeros == nil ? 1 : 2) + (groupIndices == nil ? 0 : columns * MemoryLayout<Int32>.stride)
  }

  /// Bytes read at once while tables and codes are taken into memory.
  var bandBytes: Int {
    let width = (coding.isTransposed ? rows : groupCount) * MemoryLayout<Float>.stride
    return max(width, min(1 << 20, max(coding.isTransposed ? codes.byteCount : 0, scaleRows * groupCount * 4)))
  }

  /// Bytes that a reader keeps, and once of what taking them into memory takes. Codes that lie across the parameter's
  /// rows are kept, packed; those that lie along them are read as they are asked for.
  public var residentBytes: Int {
    var bytes = tableBytes + 2 * bandBytes
    if coding.isTransposed { bytes += rows * rowWords * 4 + 8 }
    if case .words = coding, let zeros { bytes += 2 * zeros.byteCount + scaleRows * groupCount * 4 }
    return bytes
  }

  /// Bytes of scratch for reading `count` elements.
  func scratchBytes(for count: Int) -> Int {
    switch coding {
    case .gptq, .awq: 0
    // Every row may end in a word that is not full, and the first one begins with a whole run of 32.
    case .words(let bits): (count + 40) * bits / 8 + (count / columns + 2) * 4 + 16
    case .elements: count
    }
  }
}

extension PackedStorage.Coding {
  /// Whether the tensors are `[in, out]`, across the parameter's rows.
  var isTransposed: Bool {
    switch self {
    case .gptq, .awq: true
    case .words, .elements: false
    }
  }
}

extension Parameter {
  init(_ packed: PackedStorage, elementType: ElementType? = nil) {
    self.init(
      name: packed.name, shape: [packed.rows, packed.columns], elementType: elementType ?? packed.elementType,
      recipe: .packed(packed))
  }
}
