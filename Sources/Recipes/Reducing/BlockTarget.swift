internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

extension ReductionTarget {
  /// How a parameter is kept as blocks of a type until a GGUF file takes them.
  struct Blocks: Sendable, Hashable {
    let type: BlockType
    let rows: Int
    let columns: Int
    /// Whether the parameter is `[in, out]`; blocks lie along inputs whatever.
    let isTransposed: Bool

    /// The parameter that a tensor of bytes holds.
    func parameter(like original: Parameter, in stored: [StoredTensor]) throws(Problem) -> Parameter {
      guard let tensor = stored.first, stored.count == 1, tensor.format == .elements(.u8),
        tensor.byteCount == rows * type.byteCount(of: columns)
      else { throw Problem(.checkpointReduced, "the blocks are not as they were written", tensor: original.name) }
      var parameter = original
      let coded = StoredTensor(
        name: original.name, format: .blocks(type), shape: isTransposed ? [rows, columns] : original.shape,
        file: tensor.file, offset: tensor.offset, byteCount: tensor.byteCount)
      parameter.recipe = isTransposed ? .transposed(.coded(coded), shape: original.shape) : .coded(coded)
      return parameter
    }
  }

  /// How the parameter is kept as blocks.
  ///
  /// - Throws: `reduction` for a parameter of several matrices that are not all of it.
  func blocks(of type: BlockType) throws(Problem) -> Blocks {
    if let matrix = wholeMatrix {
      return Blocks(type: type, rows: matrix.outputs, columns: matrix.inputs, isTransposed: matrix.isTransposed)
    }
    let columns = parameter.shape.last ?? 1
    let places = matrices.flatMap { $0.rows ?? Array(0..<$0.outputs) }
    guard places.count * columns == parameter.elementCount, Set(places).count == places.count,
      matrices.allSatisfy({ $0.inputs == columns && !$0.isTransposed })
    else {
      throw Problem(
        .reduction, "the parameter holds several matrices, of which not all are quantized or some are turned",
        remedy: "Leave it out with --keep.", tensor: parameter.name)
    }
    return Blocks(type: type, rows: places.count, columns: columns, isTransposed: false)
  }

  /// The bytes of its matrices as one tensor.
  func encoded(_ weights: [StoredWeight], as blocks: Blocks) throws(Problem) -> [ReducedEncoding.Part] {
    let rowBytes = blocks.type.byteCount(of: blocks.columns)
    var bytes = [UInt8](repeating: 0, count: blocks.rows * rowBytes)
    for (weight, matrix) in zip(weights, matrices) {
      guard let own = weight.blocks, own.count == matrix.outputs * rowBytes else {
        throw Problem(.reduction, "the method made no blocks", tensor: parameter.name)
      }
      guard let rows = matrix.rows else {
        bytes = own
        continue
      }
      for (row, place) in rows.enumerated() {
        bytes.replaceSubrange(
          place * rowBytes..<(place + 1) * rowBytes, with: own[row * rowBytes..<(row + 1) * rowBytes])
      }
    }
    return [
      ReducedEncoding.Part(
        name: parameter.name, elementType: .u8, shape: [blocks.rows, rowBytes], bytes: bytes)
    ]
  }

  /// What the tensors of a finished parameter mean where that is more than what they say of themselves.
  enum Coding: Sendable {
    case packed(Packing)
    case blocks(Blocks)

    func parameter(like original: Parameter, in stored: [StoredTensor]) throws(Problem) -> Parameter {
      switch self {
      case .packed(let packing): try packing.parameter(like: original, in: stored)
      case .blocks(let blocks): try blocks.parameter(like: original, in: stored)
      }
    }
  }

  var coding: Coding? { packing.map { .packed($0) } ?? blocks.map { .blocks($0) } }
}

extension SiteReduction {
  /// The matrices of a site as blocks of their types, by GPTQ. What depends on the inputs is computed once for all types of
  /// one block length.
  func blocks(
    _ matrices: [NetworkMatrix], _ weights: [Matrix<Float>], _ seen: Seen
  ) throws(Problem) -> [StoredWeight] {
    let request = plan.request
    let damp = try ReductionParameters(request.parameters, for: GPTQ.card).number("damp") ?? 0.01
    let importance = seen.known?.meanSquares
    var factors: [Int: ColumnFactor] = [:]
    var stored: [StoredWeight] = []
    for (matrix, weight) in zip(matrices, weights) {
      do throws(Problem) {
        try Self.requireFinite(weight, of: matrix)
        let method = try GPTQBlocks(type(of: matrix), search: request.search)
        let length = method.encoder.type.blockLength
        if factors[length] == nil {
          factors[length] = try method.factor(seen.known, damp: damp, parallel: parallel)
        }
        guard let factor = factors[length] else { continue }
        let bytes = try method.encode(weight, factor, importance: importance, parallel: parallel)
        stored.append(try StoredWeight(bytes, of: method.encoder.type, like: weight))
      } catch { throw error.at(tensor: matrix.name) }
    }
    return stored
  }

  /// The error of a matrix that is encoded as it is.
  func plainBlocksError(
    _ weight: Matrix<Float>, of matrix: NetworkMatrix, _ statistics: SiteStatistics?
  ) throws(Problem) -> Double {
    let encoder = try BlockEncoder(type(of: matrix), search: plan.request.search)
    let bytes = UnsafeMutableRawBufferPointer.allocate(
      byteCount: weight.rows * encoder.type.byteCount(of: weight.columns), alignment: 64)
    defer { bytes.deallocate() }
    try weight.withView { (view) throws(Problem) in try encoder.encode(view, into: bytes) }
    let plain = try StoredWeight(Array(bytes), of: encoder.type, like: weight)
    return try OutputError.certificate(
      of: plain.dense, original: weight, statistics: statistics, parallel: parallel
    ).error
  }

  private func type(of matrix: NetworkMatrix) throws(Problem) -> BlockType {
    guard let type = plan.request.blockTypes[ExactString(matrix.parameter.name)] else {
      throw Problem(.reduction, "no type was chosen for the matrix", tensor: matrix.name)
    }
    return type
  }
}

extension StoredWeight {
  /// - Parameter weight: what the blocks stand for, for its shape.
  fileprivate init(_ blocks: [UInt8], of type: BlockType, like weight: Matrix<Float>) throws(Problem) {
    let count = weight.elements.count
    let values = [Float](unsafeUninitializedCapacity: count) { values, filled in
      filled = count
      guard let target = values.baseAddress else { return }
      blocks.withUnsafeBytes { bytes in
        if let start = bytes.baseAddress { type.decode(start, into: target, count: count) }
      }
    }
    dense = try Matrix(rows: weight.rows, columns: weight.columns, elements: values)
    form = .dense(dense)
    numbers = values.count { $0 != 0 }
    self.blocks = blocks
  }
}

extension SiteStatistics {
  fileprivate var meanSquares: [Float]? {
    count > 0 ? squareSums.map { Float($0 / Double(count)) } : nil
  }
}
