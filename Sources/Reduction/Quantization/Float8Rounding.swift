internal import CKernels
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierLinearMaps
public import EspalierNumerics

/// Weights as floats of 8 bits, each tile scaled so that its largest magnitude is the largest number there is.
///
/// ```
/// scale = max |w| / M,   w' = scale round8(w / scale)        M = 448 for e4m3, 57344 for e5m2
/// ```
///
/// To nearest, ties to even, never beyond M: `e4m3` is the variant without infinities. A tile of zeros has the scale 1.
/// Scales are float32. |w - w'| <= 2^-4 |w| (e4m3) or 2^-3 |w| (e5m2) where w / scale is a normal number.
public struct Float8Rounding: ReductionMethod {
  public static let card = MethodCard(
    name: "fp8", summary: "Floats of 8 bits with a scale a matrix, row or block.", source: "micikevicius2022fp8",
    parameters: [
      ParameterCard(
        "format", .choice(["e4m3", "e5m2"]), default: .word("e4m3"), "bits of exponent and significand"),
      ParameterCard(
        "scales", .choice(["matrix", "row", "block"]), default: .word("row"), "what shares a scale"),
      ParameterCard("block_size", .integer(1...65536), default: .number(128), "rows and columns of a block"),
    ])
  public static let needs = StatisticsNeed.nothing

  private let type: ElementType
  private let sharing: String
  private let blockSize: Int

  public init(_ parameters: ReductionParameters) throws(Problem) {
    type = parameters.word("format") == "e5m2" ? .f8e5m2 : .f8e4m3
    sharing = parameters.word("scales") ?? "row"
    blockSize = Int(parameters.number("block_size") ?? 128)
  }

  public func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix {
    try Quantization.requireNoZeros(budget, Self.card.name)
    try Pruning.check(weight)
    return try Quantization.result(quantized(weight), of: weight, statistics, parallel)
  }

  /// - Parameter weight: `[rows, columns]`, finite.
  func quantized(_ weight: Matrix<Float>) throws(Problem) -> QuantizedMatrix {
    let (rows, columns) = (weight.rows, weight.columns)
    let (height, width) =
      switch sharing {
      case "matrix": (max(1, rows), max(1, columns))
      case "block": (blockSize, blockSize)
      default: (1, max(1, columns))
      }
    let most: Float = type == .f8e4m3 ? 448 : 57344
    let across = (columns + width - 1) / width
    var scales = [Float](repeating: 0, count: (rows + height - 1) / height * across)
    var codes = [UInt8](repeating: 0, count: rows * columns)
    let room = Room<Float>(width)
    weight.elements.withUnsafeBufferPointer { elements in
      codes.withUnsafeMutableBytes { codes in
        guard let source = elements.baseAddress, let codes = codes.baseAddress else { return }
        func eachTileRow(_ body: (_ place: Int, _ count: Int, _ scale: Int) -> Void) {
          for row in 0..<rows {
            for start in stride(from: 0, to: columns, by: width) {
              body(row * columns + start, min(width, columns - start), row / height * across + start / width)
            }
          }
        }
        eachTileRow { place, count, scale in
          var (low, high): (Float, Float) = (0, 0)
          es_grid_extremes_of(source + place, Int64(count), &low, &high)
          scales[scale] = max(scales[scale], max(high, -low))
        }
        for index in scales.indices {
          scales[index] = scales[index] > 0 ? max(scales[index] / most, .leastNormalMagnitude) : 1
        }
        eachTileRow { place, count, scale in
          es_codes_quotients(source + place, Int64(count), scales[scale], most, room.values)
          type.encode(room.values, into: codes + place, count: count)
        }
      }
    }
    return try QuantizedMatrix(
      rows: rows, columns: columns, grid: .float(type), codes: codes, scales: scales, tileRows: height,
      tileColumns: width)
  }
}
