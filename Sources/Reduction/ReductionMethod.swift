public import EspalierBasics
public import EspalierCheckpoints
public import EspalierLinearMaps
public import EspalierNumerics

extension Problem.Code {
  /// A budget that a method cannot keep, or statistics that it lacks.
  public static let reduction = Problem.Code("reduction")
}

/// A way of making one weight matrix smaller, against a budget, by what calibration data say of its inputs.
///
/// A method is a value: its parameters. It knows nothing of files, models or threads. Adding one takes a file, a line in
/// ``ReductionMethods`` and a test.
public protocol ReductionMethod: Sendable {
  static var card: MethodCard { get }
  /// What it has to know of the inputs, whatever its parameters.
  static var needs: StatisticsNeed { get }
  /// What it has to know of the inputs with its parameters: no less than the type needs.
  var needs: StatisticsNeed { get }
  init(_ parameters: ReductionParameters) throws(Problem)

  /// W `[outputs, inputs]` in a smaller form.
  ///
  /// - Parameters:
  ///   - statistics: of the rows x that W is applied to, at least what ``needs`` names.
  ///   - parallel: the loop that shares the work; it changes no bit of the result.
  /// - Throws: `reduction` for a budget that the method or the shape does not allow, `matrix.shape`.
  func reduce(
    _ weight: Matrix<Float>, _ statistics: SiteStatistics?, to budget: MatrixBudget,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> ReducedMatrix

  /// The same for matrices that read the same inputs, such as query, key and value: each to the bit what it is by itself,
  /// but what depends on the inputs alone is computed once.
  ///
  /// - Parameters:
  ///   - statistics: of the rows x that all of them are applied to.
  ///   - budgets: one a matrix.
  /// - Returns: one a matrix, in their order.
  /// - Throws: `reduction` unless there are as many budgets as matrices; what the first matrix that fails throws.
  func reduce(
    _ weights: [Matrix<Float>], _ statistics: SiteStatistics?, to budgets: [MatrixBudget],
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [ReducedMatrix]

  /// Bytes that it takes to reduce matrices that read the same inputs, at most, with what comes of them, written out too;
  /// their weights and statistics not counted.
  ///
  /// - Parameters:
  ///   - shapes: of the matrices; one at least.
  ///   - threads: that share the loops.
  func workingBytes(_ shapes: [(outputs: Int, inputs: Int)], threads: Int) -> Int
}

extension ReductionMethod {
  public var needs: StatisticsNeed { Self.needs }

  /// Of each matrix five copies in float64, and three of the second moment where it is needed.
  public func workingBytes(_ shapes: [(outputs: Int, inputs: Int)], threads: Int) -> Int {
    let width = shapes.reduce(0) { max($0, $1.inputs) }
    return 40 * shapes.reduce(0) { $0 + $1.outputs * $1.inputs } + (needs == .nothing ? 8 : 24) * width * width
  }

  public func reduce(
    _ weights: [Matrix<Float>], _ statistics: SiteStatistics?, to budgets: [MatrixBudget],
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [ReducedMatrix] {
    try Self.each(weights, budgets, parallel) { (weight, budget) throws(Problem) in
      try reduce(weight, statistics, to: budget, parallel: parallel)
    }
  }

  /// Runs `body` for every matrix with its budget, several at once.
  static func each(
    _ weights: [Matrix<Float>], _ budgets: [MatrixBudget], _ parallel: MatrixProduct.ParallelLoop,
    _ body: (Matrix<Float>, MatrixBudget) throws(Problem) -> ReducedMatrix
  ) throws(Problem) -> [ReducedMatrix] {
    try checkCounts(weights, budgets)
    var results = [ReducedMatrix?](repeating: nil, count: weights.count)
    try results.withUnsafeMutableBufferPointer { (places) throws(Problem) in
      try withoutActuallyEscaping(body) { (body) throws(Problem) in
        // Every index writes its own place.
        try parallel(weights.count) { (index) throws(Problem) in
          places[index] = try body(weights[index], budgets[index])
        }
      }
    }
    return results.compactMap(\.self)
  }

  static func checkCounts(_ weights: [Matrix<Float>], _ budgets: [MatrixBudget]) throws(Problem) {
    guard weights.count == budgets.count else {
      throw Problem(.reduction, "\(card.name): \(budgets.count) budgets for \(weights.count) matrices")
    }
  }
}

/// What a method has to know of the inputs of a matrix.
public enum StatisticsNeed: Int, Sendable, Comparable {
  case nothing
  /// Sums by column.
  case columns
  /// The full second moment.
  case moment

  public static func < (a: StatisticsNeed, b: StatisticsNeed) -> Bool { a.rawValue < b.rawValue }
}

/// How small one matrix is to be.
public enum MatrixBudget: Sendable, Hashable {
  /// The share of elements that become zero, `Int(count * share)` of them.
  case sparsity(Double)
  /// Of every `of` consecutive inputs of an output, `keep` stay.
  case pattern(keep: Int, of: Int)
  /// The rank of a product of two factors.
  case rank(Int)
  /// The share of numbers that stay, in factors: rank = Int(share * m n / (m + n)).
  case parameters(Double)
}

/// What came of a reduction.
public struct ReducedMatrix: Sendable {
  /// The weight in its new form, as float32 parts that a writer rounds once to the stored type.
  public enum Form: Sendable {
    /// Zeros in place.
    case dense(Matrix<Float>)
    /// W ≈ left right: `[outputs, rank]`, `[rank, inputs]`.
    case factors(left: Matrix<Float>, right: Matrix<Float>)
    /// W ≈ columns link rows: `[outputs, c]`, `[c, r]`, `[r, inputs]`; columns and rows are those of W.
    case cur(columns: Matrix<Float>, link: Matrix<Float>, rows: Matrix<Float>, columnIndices: [Int], rowIndices: [Int])
    /// Some rows, or columns, whole, and factors of the others.
    case split(SplitFactors)
    /// Codes and scales, which have their own types.
    case quantized(QuantizedMatrix)
  }

  public var form: Form
  /// The relative error of the outputs on the calibration data, ‖(W - W') X‖ / ‖W X‖, where there are some; otherwise of
  /// the weight.
  public var certificate: Certificate
  /// Numbers that are stored, zeros not counted; of codes those that are not zero.
  public var storedNumbers: Int
  /// What is to be added to the outputs, and so to the layer's bias; nil for nothing. Certificate and count include it.
  public var outputShift: [Float]?
  /// What of the time went into measuring the error, which is no part of the method.
  public var measuringSeconds = 0.0

  public init(_ form: Form, certificate: Certificate, storedNumbers: Int) {
    self.form = form
    self.certificate = certificate
    self.storedNumbers = storedNumbers
    outputShift = nil
  }
}
