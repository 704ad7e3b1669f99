internal import EspalierBasics
public import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics
internal import EspalierReduction

/// What codes a method of quantization makes with its parameters, known before there are any.
struct CodeForm: Sendable, Hashable {
  enum Sharing: Sendable, Hashable {
    case matrix, row
    case columns(Int)
    case blocks(Int)
  }

  let grid: QuantizedMatrix.Grid
  /// What shares a scale.
  let sharing: Sharing
  let scaleType: ElementType
  /// Whether columns are in groups of another order than theirs.
  let reordersColumns: Bool

  /// Nil for a method that makes no codes.
  ///
  /// - Throws: `reduction` for parameters that its card does not allow.
  init?(_ request: ReductionRequest) throws(Problem) {
    guard ReductionMethods.makesCodes(request.method), let card = ReductionMethods.card(named: request.method) else {
      return nil
    }
    let values = try ReductionParameters(request.parameters, for: card)
    switch values.word("format") {
    case "e5m2": grid = .float(.f8e5m2)
    case "e4m3": grid = .float(.f8e4m3)
    default:
      grid =
        values.number("bits").map { .integer(bits: Int($0), symmetric: values.flag("symmetric") ?? true) } ?? .ternary
    }
    switch values.word("scales") {
    case "matrix": sharing = .matrix
    case "row": sharing = .row
    case "block": sharing = .blocks(Int(values.number("block_size") ?? 128))
    default: sharing = .columns(Int(values.number("group_size") ?? 128))
    }
    scaleType = values.word("scale_type").flatMap { ElementType(rawValue: $0) } ?? .f32
    var hasOwnGroups = false
    if case .columns = sharing { hasOwnGroups = values.flag("static_groups") == false }
    reordersColumns = hasOwnGroups && values.flag("act_order") == true
  }

  /// Of a matrix `[rows, columns]`.
  func form(rows: Int, columns: Int) -> PackedLayout.Form {
    let (height, width) =
      switch sharing {
      case .matrix: (rows, columns)
      case .row: (1, columns)
      case .columns(let count): (1, min(count, columns))
      case .blocks(let size): (size, size)
      }
    return PackedLayout.Form(
      rows: rows, columns: columns, grid: grid, tileRows: height, tileColumns: width,
      reordersColumns: reordersColumns, scaleType: scaleType)
  }

  /// For people: `4 bits, groups of 128`.
  var text: String {
    let codes =
      switch grid {
      case .integer(let bits, let isSymmetric): "\(bits) bits\(isSymmetric ? "" : " with zero points")"
      case .float(let type): type.safetensorsName
      case .ternary: "ternary"
      }
    let tiles =
      switch sharing {
      case .matrix: "one scale"
      case .row: "rows"
      case .columns(let count): "groups of \(count)"
      case .blocks(let size): "blocks of \(size)"
      }
    return "\(codes), \(tiles)"
  }

  /// Plain rounding to the same levels, with whose error that of a method is compared; nil where the method is it, or
  /// levels are no integers.
  func plainRounding(beside method: String) throws(Problem) -> PlainRounding? {
    guard case .integer(let bits, let isSymmetric) = grid, method != PlainRounding.card.name else { return nil }
    var values: [String: ParameterValue] = [
      "bits": .number(Double(bits)), "symmetric": .flag(isSymmetric), "scale_type": .word(scaleType.rawValue),
    ]
    switch sharing {
    case .columns(let count): (values["scales"], values["group_size"]) = (.word("group"), .number(Double(count)))
    case .row: values["scales"] = .word("row")
    case .matrix, .blocks: values["scales"] = .word("matrix")
    }
    return try PlainRounding(ReductionParameters(values, for: PlainRounding.card))
  }
}

extension ReductionRequest {
  var makesCodes: Bool { ReductionMethods.makesCodes(method) }

  /// The layout that codes are written in where none is asked for.
  public var standardLayout: PackedLayout {
    guard let codes = try? CodeForm(self) else { return .packQuantized }
    switch (method, codes.grid) {
    case (_, .float): return .floatQuantized
    case (AWQ.card.name, .integer(4, _)): return .awq
    case (SmoothRounding.card.name, _): return .intQuantized
    case (GPTQ.card.name, .integer(let bits, let isSymmetric)) where [2, 3, 4, 8].contains(bits):
      return isSymmetric ? .gptq : .gptqV2
    default: return .packQuantized
    }
  }

  /// A budget for people; what codes are where they are all there is to it.
  ///
  /// - Parameter parameter: that the matrix is in, where each has its own type of blocks.
  func words(for budget: MatrixBudget, of parameter: String? = nil) -> String {
    if let type = parameter.flatMap({ blockTypes[ExactString($0)] }) { return type.rawValue.uppercased() }
    guard let codes = try? CodeForm(self) else { return budget.description }
    return budget == .sparsity(0) ? codes.text : "\(codes.text), \(budget.description)"
  }
}
