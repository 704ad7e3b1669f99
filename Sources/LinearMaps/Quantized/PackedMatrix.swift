internal import CKernels
public import EspalierBasics
public import EspalierNumerics

/// A weight matrix as codes of a few bits, packed, with scales and zero points that tiles of them share: what GPTQ, AWQ
/// and compressed-tensors store, ready to be applied.
///
///     W[o, i] = scale[o / tileRows, g(i)] (code[o, i] - zero[o / tileRows, g(i)])
///
/// Integers of 1 to 8 bits, or floats of 8 bits, whose zero is 0. In ``NumericMode/exact`` rows are widened while the
/// product packs them, each number rounded once, so that the bits are those of the widened copy. In
/// ``NumericMode/fast``
///
///  * up to 8 rows of x meet integers in integers, x being rounded to 16 bits in blocks of 32 as for ``StoredMatrix``, with
///    its bound. This needs groups that are whole blocks of 32 columns, or one for a row. Where columns were quantized in
///    another order, codes are kept in it and x is gathered; the blocks of x are then those of that order;
///  * more rows, and other matrices, are multiplied as any other format is.
///
/// Memory: codes as they are packed, 4 bytes a scale, 1 a zero point, 8 a column where columns have an order.
public struct PackedMatrix: LinearMap, WidenedRows {
  public let layout: Layout
  private let parts: PackedParts

  public var outputWidth: Int { layout.rows }
  public var inputWidth: Int { layout.columns }
  public var byteCount: Int { layout.byteCount }

  /// A matrix whose parts lie in a buffer as `layout` says, from byte `offset` on, a multiple of 64. Nobody writes there
  /// from now on; codes of columns that have an order are put into it.
  ///
  /// - Throws: `matrix.shape` if the buffer is too small; `matrix.quantized` for groups that do not exist. Any scale is
  ///   allowed, NaN too.
  public init(_ buffer: AlignedBuffer, offset: Int = 0, layout: Layout) throws(Problem) {
    guard offset >= 0, offset % 64 == 0, layout.byteCount <= buffer.byteCount - offset else {
      throw Problem(
        .matrixShape,
        "a buffer of \(buffer.byteCount) bytes does not hold \(layout.byteCount) bytes of a packed matrix at byte "
          + "\(offset)")
    }
    self.layout = layout
    parts = try PackedParts(buffer, offset: offset, layout: layout)
  }

  var storedRows: StoredRows {
    StoredRows(parts.native, rows: outputWidth, columns: inputWidth, stride: 0, widening: es_packed_widen)
  }

  var codedRows: StoredRows { storedRows }

  var native: UnsafePointer<es_packed_rows> { UnsafePointer(parts.native) }

  var hasIntegerProduct: Bool {
    guard case .integer = layout.grid else { return false }
    let isOrdered = native.pointee.column_groups == nil || native.pointee.places != nil
    return isOrdered && (layout.groupCount == 1 || layout.groupSize % 32 == 0)
  }

  func integerProduct(
    _ x: MatrixView<Float>, _ activations: CodedActivations, into y: MutableMatrixView<Float>
  ) -> (any TiledProduct)? {
    let places = native.pointee.places
    return PackedProduct(places == nil ? activations : CodedActivations(x, places: places), self, into: y)
  }
}

/// The memory of a packed matrix, and what kernels know of it.
private final class PackedParts: @unchecked Sendable {
  // Written while the matrix is made, then only read.
  let native: UnsafeMutablePointer<es_packed_rows>
  private let buffer: AlignedBuffer

  init(_ buffer: AlignedBuffer, offset: Int, layout: PackedMatrix.Layout) throws(Problem) {
    self.buffer = buffer
    let start = buffer.address + offset
    let (grid, bits): (es_packed_grid, Int) =
      switch layout.grid {
      case .integer(let bits): (.integers, bits)
      case .float(.f8e5m2): (.f8e5m2, 8)
      case .float: (.f8e4m3, 8)
      }
    let zeros = (start + layout.zerosStart).assumingMemoryBound(to: Int8.self)
    // Zero points that all are those of symmetric codes are none.
    let hasZeros = layout.hasZeros && (0..<layout.scaleCount).contains { zeros[$0] != 0 }
    let groups = (start + layout.columnGroupsStart).assumingMemoryBound(to: Int32.self)
    let places = (start + layout.placesStart).assumingMemoryBound(to: Int32.self)
    let columns = layout.ordersColumns ? try layout.order(of: groups) : nil
    let isOrdered =
      columns.map { columns in columns.indices.allSatisfy { groups[Int(columns[$0])] == $0 / layout.groupSize } }
      ?? false
    native = .allocate(capacity: 1)
    native.initialize(
      to: es_packed_rows(
        grid: grid, bits: Int32(bits),
        codes: UnsafePointer((start + layout.codesStart).assumingMemoryBound(to: UInt8.self)), stride: layout.rowBytes,
        scales: UnsafePointer((start + layout.scalesStart).assumingMemoryBound(to: Float.self)),
        zeros: hasZeros ? UnsafePointer(zeros) : nil, block_rows: layout.tileRows, groups: layout.groupCount,
        group_columns: layout.groupSize, column_groups: nil, places: nil))
    guard let columns, !columns.indices.allSatisfy({ columns[$0] == $0 }) || !isOrdered else { return }
    native.pointee.column_groups = UnsafePointer(groups)
    guard isOrdered, case .integer = layout.grid else { return }
    for (place, column) in columns.enumerated() { places[Int(column)] = Int32(place) }
    native.pointee.places = UnsafePointer(places)
    order(start + layout.codesStart, columns, layout, bits: bits)
  }

  deinit { native.deallocate() }

  /// Puts the codes of every row into the order of their groups.
  private func order(
    _ codes: UnsafeMutableRawPointer, _ columns: [Int32], _ layout: PackedMatrix.Layout, bits: Int
  ) {
    let count = layout.columns
    let picked = Scratch(byteCount: count)
    let packed = Scratch(byteCount: (count * bits + 31) / 32 * 4)
    let bytes = picked.address.assumingMemoryBound(to: UInt8.self)
    for row in 0..<layout.rows {
      let row = codes + row * layout.rowBytes
      es_packed_pick(row.assumingMemoryBound(to: UInt8.self), Int32(bits), columns, Int64(count), bytes)
      es_packed_encode(bytes, Int32(bits), packed.address.assumingMemoryBound(to: UInt32.self), Int64(count))
      row.copyMemory(from: packed.address, byteCount: (count * bits + 7) / 8)
    }
  }
}

/// `y = x Wᵀ` in integers for few rows of x.
struct PackedProduct: FewRowProduct {
  let operands: FewRowOperands<PackedMatrix, es_linear_codes>
  private let activations: CodedActivations
  private let kernel: DotKernel

  /// Nil if the matrix has no such product, or y no elements.
  ///
  /// - Parameter activations: x with its columns where the matrix has their codes.
  init?(
    _ activations: CodedActivations, _ matrix: PackedMatrix, into y: MutableMatrixView<Float>,
    kernel: DotKernel = .fastest
  ) {
    guard matrix.hasIntegerProduct,
      let operands = FewRowOperands(
        UnsafePointer(activations.codes), stride: activations.codesOfRow, tokens: activations.rows, matrix, into: y)
    else { return nil }
    self.operands = operands
    self.activations = activations
    self.kernel = kernel
  }

  func run(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
    let matrix = operands.matrix
    es_packed_dot(
      kernel.native, matrix.native, rows.lowerBound, rows.count, matrix.inputWidth, operands.x, operands.tokens, target,
      operands.yStride)
  }
}
