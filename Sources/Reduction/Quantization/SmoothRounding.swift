public import EspalierBasics
public import EspalierCheckpoints
public import EspalierLinearMaps
public import EspalierNumerics

/// Moves the spread of inputs into the weight before both are to be rounded to 8 bits.
///
/// ```
/// W' = Q(W diag(s)) diag(s)⁻¹,   s_j = a_j^alpha / (max over outputs of |w_j|)^(1 - alpha),   a_j = sqrt(mean x_j²)
/// ```
///
/// s is at least 1e-5. The result has it as ``QuantizedMatrix/inputScales``; what is measured is the error of the weight's
/// rounding, inputs being as they are. Source: equation 4.
public struct SmoothRounding: InputScaling {
  public static let card = MethodCard(
    name: "smooth", summary: "Int8 of a weight into which the spread of its inputs was moved.",
    source: "xiao2023smoothquant",
    parameters: [
      ParameterCard(
        "alpha", .number(0...1), default: .number(0.5), "how much of the inputs' spread moves; 1 is all, 0 none")
    ] + Quantization.parameters(bits: 8, scales: "row"),
    notes: "The source takes the largest |x_j|; statistics keep sums of squares, so the root mean square stands for it."
  )
  public static let needs = StatisticsNeed.columns

  private let alpha: Double
  private let grid: IntegerGrid

  public init(_ parameters: ReductionParameters) throws(Problem) {
    alpha = parameters.number("alpha") ?? 0.5
    grid = try Quantization.grid(parameters)
  }

  public func workingBytes(_ shapes: [(outputs: Int, inputs: Int)], threads: Int) -> Int {
    Quantization.workingBytes(shapes, grid, copies: 2)
  }

  /// The s of matrices that read the same inputs: the largest weight of a column is that of all of them,
  /// and of columns that share s; inputs count by their mean square then.
  public func inputScales(
    of weights: [Matrix<Float>], _ statistics: SiteStatistics?, sharing: [Int]? = nil,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> [Float] {
    let known = try self.known(statistics, for: weights, sharing: sharing)
    var most = [Float](repeating: 0, count: known.width)
    for weight in weights {
      weight.elements.withUnsafeBufferPointer { elements in
        most.withUnsafeMutableBufferPointer { most in
          for row in 0..<weight.rows {
            let start = row * weight.columns
            for j in most.indices { most[j] = max(most[j], elements[start + j].magnitude) }
          }
        }
      }
    }
    var sizes = known.rootMeanSquares
    if let sharing {
      sizes = sizes.map { $0 * $0 }.pooled(sharing).map { $0.squareRoot() }
      let largest = Dictionary(zip(sharing, most), uniquingKeysWith: { max($0, $1) })
      most = sharing.map { largest[$0] ?? 0 }
    }
    return zip(sizes, most).map { size, most in
      let s = Elementary.power(max(size, 1e-5), alpha) / Elementary.power(max(Double(most), 1e-5), 1 - alpha)
      return Float(max(s, 1e-5))
    }
  }

  /// Q(W diag(s)).
  public func quantized(
    _ weight: Matrix<Float>, inputScales: [Float], _ statistics: SiteStatistics?,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> QuantizedMatrix {
    guard inputScales.count == weight.columns else {
      throw Problem(.matrixShape, "\(inputScales.count) scales of inputs for \(weight.columns)")
    }
    let known = try Pruning.statistics(statistics, for: weight, method: Self.card.name)
    let importance = Quantization.importance(known)?.enumerated().map {
      $1 / Double(inputScales[$0] * inputScales[$0])
    }
    var matrix = try grid.rounded(weight.scaled(columns: inputScales), importance: importance, parallel: parallel)
    matrix.inputScales = inputScales
    return matrix
  }
}
