internal import CKernels
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierLinearMaps
public import EspalierNumerics

/// GPTQ whose levels are those of a block format, so that its result is a tensor of a GGUF file.
///
/// When the sweep (``ColumnSweep``) reaches a block of 32 or super-block of 256 columns, a ``BlockEncoder`` encodes the
/// weights of each row as updated by then. Its scales and minima stay; the codes are chosen anew, column by column, each
/// the nearest level to the weight as updated, whose error goes to the columns to its right:
///
/// ```
/// x = a q + b     a, b of the (sub-)block as its bytes say,  q from 0 to the largest code
/// ```
///
/// Columns keep their order. Weights of inputs that were always zero are zero when their block is encoded. Cost: as
/// ``SparseGPT``, and the encoder's.
public struct GPTQBlocks: Sendable {
  /// Types whose levels are evenly spaced.
  public static let types: [BlockType] = [.q4_0, .q4_1, .q5_0, .q5_1, .q8_0, .q2_K, .q3_K, .q4_K, .q5_K, .q6_K]

  public let encoder: BlockEncoder
  private let levels: Levels

  /// - Parameter search: how scales are found.
  /// - Throws: `reduction` for a type whose levels are not evenly spaced, and one that weights are not stored in.
  public init(_ type: BlockType, search: BlockEncoder.Search = .reference) throws(Problem) {
    guard Self.types.contains(type), let levels = Levels(type) else {
      throw Problem(
        .reduction, "GPTQ does not round to \(type.rawValue.uppercased())",
        remedy: "Types: \(Self.types.map { $0.rawValue.uppercased() }.joined(separator: ", ")).")
    }
    encoder = try BlockEncoder(type, search: search)
    self.levels = levels
  }

  /// The factor that ``encode(_:_:importance:parallel:)`` takes, for all matrices that read the same inputs.
  ///
  /// - Parameters:
  ///   - moment: the sum of x xᵀ over the inputs.
  ///   - count: rows summed.
  ///   - damp: a share of the mean diagonal that is added to it.
  public func factor(
    moment: Matrix<Double>, count: Int, damp: Double = 0.01,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> ColumnFactor {
    try ColumnFactor(
      moment: moment, count: count, damp: damp, blockSize: encoder.type.blockLength, parallel: parallel)
  }

  /// The same from statistics of the inputs.
  ///
  /// - Throws: `reduction` for statistics without a full second moment.
  public func factor(
    _ statistics: SiteStatistics?, damp: Double = 0.01,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> ColumnFactor {
    let (moment, count) = try Pruning.moment(statistics, method: GPTQ.card.name)
    return try factor(moment: moment, count: count, damp: damp, parallel: parallel)
  }

  /// The bytes of a weight, row after row.
  ///
  /// - Parameters:
  ///   - weight: `[outputs, inputs]`, inputs a multiple of the type's block length.
  ///   - factor: of this encoder's ``factor(moment:count:damp:parallel:)``.
  ///   - importance: nil, or what errors in each column count when scales are searched.
  /// - Throws: `matrix.shape`, `linear-algebra.non-finite`, what ``BlockEncoder/encode(_:importance:into:)`` throws.
  public func encode(
    _ weight: Matrix<Float>, _ factor: ColumnFactor, importance: [Float]? = nil,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> [UInt8] {
    let type = encoder.type
    let (rows, columns, length) = (weight.rows, weight.columns, type.blockLength)
    guard columns % length == 0, factor.columns == columns, factor.blockSize == length, factor.order == nil,
      importance.map({ $0.count == columns }) ?? true
    else {
      throw Problem(
        .matrixShape,
        "\(rows) x \(columns) in blocks of \(length) with a factor of \(factor.columns) columns in blocks of "
          + "\(factor.blockSize) and the importance of \(importance?.count ?? columns)")
    }
    try Pruning.check(weight)
    let rowBytes = type.byteCount(of: columns)
    let output = Room<UInt8>(rows * rowBytes)
    let codes = GridCodes(
      rows: rows, columns: columns, groups: columns / levels.length, hasZeros: false, hasOffsets: true,
      groupOf: (0..<columns).map { Int32($0 / levels.length) })
    let target = output.values
    let fit = es_grid_fit(
      top: Int32(levels.top), symmetric: false, significand: 24, search: es_grid_extremes, steps: 1)
    let rounding = ColumnSweep.Rounding(grids: codes.native(fit, zero: 0, fitLength: 0)) { (block) throws(Problem) in
      try begin(block, codes, target, importance)
    }
    let swept = try ColumnSweep(factor: factor, budget: .sparsity(0), rounding: rounding).run(
      weight, parallel: parallel)
    try Pruning.check(swept)
    try parallel(rows) { (row) throws(Problem) in
      for block in 0..<columns / length {
        es_block_put_codes(
          levels.native, codes.codes + row * columns + block * length,
          target + row * rowBytes + block * type.blockBytes)
      }
    }
    return Array(UnsafeBufferPointer(start: output.values, count: rows * rowBytes))
  }

  /// Encodes a block of some rows as it stands, and takes its levels from the bytes.
  private func begin(
    _ block: ColumnSweep.Block, _ codes: GridCodes, _ target: UnsafeMutablePointer<UInt8>, _ importance: [Float]?
  ) throws(Problem) {
    let type = encoder.type
    let (rows, length, bytes) = (block.rows.count, type.blockLength, type.blockBytes)
    let floats = Room<Float>(rows * length)
    for index in 0..<rows * length { floats.values[index] = Float(block.values[index]) }
    let encoded = Room<UInt8>(rows * bytes)
    let part = importance.map { Array($0[block.columns]) }
    let view = try MatrixView(
      UnsafeBufferPointer(start: UnsafePointer(floats.values), count: rows * length), rows: rows, columns: length)
    let destination = UnsafeMutableRawBufferPointer(start: encoded.values, count: rows * bytes)
    do throws(Problem) {
      if let part {
        try part.withUnsafeBufferPointer { (part) throws(Problem) in
          try encoder.encode(view, importance: part, into: destination)
        }
      } else {
        try encoder.encode(view, into: destination)
      }
    } catch {
      throw Problem(
        error.code, "rows from \(block.rows.lowerBound), columns from \(block.columns.lowerBound): \(error.message)",
        remedy: error.remedy)
    }
    let rowBytes = type.byteCount(of: codes.columns)
    for index in 0..<rows {
      let row = block.rows.lowerBound + index
      let place = target + row * rowBytes + block.columns.lowerBound / length * bytes
      place.update(from: encoded.values + index * bytes, count: bytes)
      let group = row * codes.groups + block.columns.lowerBound / levels.length
      levels.read(place, type, scales: codes.scales + group, offsets: codes.offsets.map { $0 + group })
    }
  }

  /// The levels of a block.
  private struct Levels {
    let native: Int32
    /// The largest code.
    let top: Int
    /// Numbers that share a scale.
    let length: Int

    init?(_ type: BlockType) {
      let kind: es_quantized_type
      switch type {
      case .q4_0: (kind, top, length) = (es_quantized_q4_0, 15, 32)
      case .q4_1: (kind, top, length) = (es_quantized_q4_1, 15, 32)
      case .q5_0: (kind, top, length) = (es_quantized_q5_0, 31, 32)
      case .q5_1: (kind, top, length) = (es_quantized_q5_1, 31, 32)
      case .q8_0: (kind, top, length) = (es_quantized_q8_0, 254, 32)
      case .q2_K: (kind, top, length) = (es_quantized_q2_K, 3, 16)
      case .q3_K: (kind, top, length) = (es_quantized_q3_K, 7, 16)
      case .q4_K: (kind, top, length) = (es_quantized_q4_K, 15, 32)
      case .q5_K: (kind, top, length) = (es_quantized_q5_K, 31, 32)
      case .q6_K: (kind, top, length) = (es_quantized_q6_K, 63, 16)
      default: return nil
      }
      native = Int32(bitPattern: kind.rawValue)
    }

    /// The levels of a block are those between its decoded least and largest codes.
    ///
    /// - Parameter block: its bytes, whose codes are lost.
    func read(
      _ block: UnsafeMutablePointer<UInt8>, _ type: BlockType, scales: UnsafeMutablePointer<Double>,
      offsets: UnsafeMutablePointer<Double>?
    ) {
      let count = type.blockLength
      let code = Room<UInt8>(count)
      let ends = Room<Float>(2 * count)
      for (index, value) in [0, top].enumerated() {
        code.values.update(repeating: UInt8(value), count: count)
        es_block_put_codes(native, code.values, block)
        type.decode(block, into: ends.values + index * count, count: count)
      }
      for group in 0..<count / length {
        let (first, last) = (ends.values[group * length], ends.values[count + group * length])
        scales[group] = (Double(last) - Double(first)) / Double(top)
        offsets?[group] = Double(first)
      }
    }
  }
}
