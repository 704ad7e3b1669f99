public import EspalierBasics
public import EspalierLinearMaps
public import EspalierNumerics

/// A layout that other programs read quantized matrices in.
public enum PackedLayout: String, Sendable, Hashable, Codable, CaseIterable {
  /// GPTQ, whose zero points are stored less one: a zero point of 0 cannot be. For symmetric codes; of others,
  /// gptqmodel reads none that another program wrote.
  case gptq
  /// GPTQ with zero points as they are.
  case gptqV2 = "gptq_v2"
  /// AWQ for its matrix product ("gemm"): 4 bits, 8 outputs in a word.
  case awq
  /// compressed-tensors: integers of 2 to 8 bits in words.
  case packQuantized = "pack-quantized"
  /// compressed-tensors: integers of up to 8 bits, a byte each.
  case intQuantized = "int-quantized"
  /// compressed-tensors: floats of 8 bits.
  case floatQuantized = "float-quantized"

  /// What is known of a quantized matrix before there is one: enough to say what tensors it will be.
  public struct Form: Sendable, Hashable {
    public var rows: Int
    public var columns: Int
    public var grid: QuantizedMatrix.Grid
    /// Rows and columns that share a scale.
    public var tileRows: Int
    public var tileColumns: Int
    /// Whether columns are in groups of another order than theirs.
    public var reordersColumns: Bool
    /// f16 or bf16; in compressed-tensors also f32.
    public var scaleType: ElementType

    public init(
      rows: Int, columns: Int, grid: QuantizedMatrix.Grid, tileRows: Int = 1, tileColumns: Int,
      reordersColumns: Bool = false, scaleType: ElementType = .f16
    ) {
      self.rows = rows
      self.columns = columns
      self.grid = grid
      self.tileRows = tileRows
      self.tileColumns = tileColumns
      self.reordersColumns = reordersColumns
      self.scaleType = scaleType
    }

    public init(_ matrix: QuantizedMatrix) {
      self.init(
        rows: matrix.rows, columns: matrix.columns, grid: matrix.grid, tileRows: matrix.tileRows,
        tileColumns: matrix.tileColumns, reordersColumns: matrix.groupOfColumn != nil, scaleType: matrix.scaleType)
    }

    var scaleRows: Int { (rows + tileRows - 1) / tileRows }
    var scaleColumns: Int { (columns + tileColumns - 1) / tileColumns }
    /// What shares a scale.
    var strategy: Strategy {
      if tileColumns >= columns { return tileRows >= rows && rows > 1 ? .tensor : tileRows == 1 ? .channel : .block }
      return tileRows == 1 ? .group : .block
    }
    /// Whether zero points are stored where a layout can do without.
    var hasZeros: Bool { if case .integer(_, false) = grid { true } else { false } }
  }

  enum Strategy: String { case tensor, channel, group, block }

  /// A tensor of a quantized matrix.
  public struct Tensor: Sendable, Hashable {
    public let name: String
    public let elementType: ElementType
    public let shape: [Int]
    public var byteCount: Int { shape.reduce(1, *) * elementType.byteWidth }
  }

  /// The tensors that a matrix is written as.
  ///
  /// - Parameter parameter: ends in `.weight`, in whose place the tensors' own names stand.
  /// - Throws: `checkpoint.packed` for a name without that end, and for a matrix that the layout does not have.
  public func tensors(of form: Form, parameter: String) throws(Problem) -> [Tensor] {
    guard parameter.hasSuffix(".weight") else {
      throw Problem(
        .checkpointPacked,
        "the layout \(rawValue) names tensors by modules, and the parameter is no module's `.weight`",
        tensor: parameter)
    }
    if let complaint = complaint(about: form) {
      throw Problem(
        .checkpointPacked,
        "a matrix of \(form.rows) x \(form.columns) cannot be written in the layout \(rawValue): \(complaint)",
        tensor: parameter)
    }
    let module = parameter.dropLast(".weight".count)
    func tensor(_ suffix: String, _ type: ElementType, _ shape: [Int]) -> Tensor {
      Tensor(name: "\(module).\(suffix)", elementType: type, shape: shape)
    }
    let (rows, columns, bits) = (form.rows, form.columns, form.grid.bits)
    let (scaleRows, groups) = (form.scaleRows, form.scaleColumns)
    switch self {
    case .gptq, .gptqV2:
      return [
        tensor("qweight", .i32, [PackedStorage.words(columns, bits), rows]),
        tensor("qzeros", .i32, [groups, PackedStorage.words(rows, bits)]),
        tensor("scales", form.scaleType, [groups, rows]), tensor("g_idx", .i32, [columns]),
      ]
    case .awq:
      return [
        tensor("qweight", .i32, [columns, rows / 8]), tensor("qzeros", .i32, [groups, rows / 8]),
        tensor("scales", form.scaleType, [groups, rows]),
      ]
    case .packQuantized:
      let packsZeros = form.strategy != .tensor
      return [
        tensor("weight_packed", .i32, [rows, PackedStorage.words(columns, bits)]),
        tensor("weight_scale", form.scaleType, scaleShape(form)),
      ]
        + (form.hasZeros
          ? [
            packsZeros
              ? tensor("weight_zero_point", .i32, [PackedStorage.words(scaleRows, bits), groups])
              : tensor("weight_zero_point", .i8, scaleShape(form))
          ] : [])
        + (form.reordersColumns ? [tensor("weight_g_idx", .i32, [columns])] : [])
        + [tensor("weight_shape", .i64, [2])]
    case .intQuantized, .floatQuantized:
      var type = ElementType.i8
      if case .float(let float) = form.grid { type = float }
      return [tensor("weight", type, [rows, columns]), tensor("weight_scale", form.scaleType, scaleShape(form))]
        + (form.hasZeros ? [tensor("weight_zero_point", .i8, scaleShape(form))] : [])
    }
  }

  private func scaleShape(_ form: Form) -> [Int] {
    form.strategy == .tensor ? [1] : [form.scaleRows, form.scaleColumns]
  }

  /// Why the layout does not have such matrices.
  private func complaint(about form: Form) -> String? {
    let (rows, columns, bits) = (form.rows, form.columns, form.grid.bits)
    guard rows > 0, columns > 0, form.tileRows > 0, form.tileColumns > 0 else { return "it is empty" }
    var isFloat = false
    if case .float = form.grid { isFloat = true }
    if isFloat != (self == .floatQuantized) { return isFloat ? "its codes are floats" : "its codes are integers" }
    switch self {
    case .gptq, .gptqV2, .awq:
      guard form.scaleType == .f16 || form.scaleType == .bf16 else {
        return "scales of \(form.scaleType.safetensorsName); F16 and BF16 can be"
      }
      guard form.tileRows == 1 else { return "\(form.tileRows) rows share a scale" }
      if self == .awq {
        if bits != 4 { return "codes of \(bits) bits; 4 can be" }
        if form.reordersColumns { return "columns are in groups of another order" }
        if rows % 8 != 0 { return "its outputs are not a multiple of 8" }
        if columns % min(form.tileColumns, columns) != 0 { return "its inputs are not whole groups" }
      } else {
        if !GPTQConfiguration.bits.contains(bits) { return "codes of \(bits) bits; 2, 3, 4 and 8 can be" }
        let multiple = bits == 3 ? 32 : 32 / bits
        if rows % multiple != 0 || columns % multiple != 0 {
          return "with \(bits) bits, inputs and outputs are multiples of \(multiple)"
        }
      }
    case .packQuantized, .intQuantized, .floatQuantized:
      guard [.f16, .bf16, .f32].contains(form.scaleType) else {
        return "scales of \(form.scaleType.safetensorsName); F16, BF16 and F32 can be"
      }
      if form.strategy == .group, columns % form.tileColumns != 0 { return "its inputs are not whole groups" }
      if form.reordersColumns, self != .packQuantized || form.strategy != .group {
        return "columns are in groups of another order"
      }
      if self == .packQuantized, form.strategy == .block { return "blocks of rows share scales" }
    }
    return nil
  }
}
