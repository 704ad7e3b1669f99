internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics
internal import EspalierReduction

/// What is measured of a reduced matrix as a file holds it.
struct TrialMeasure {
  let weight: Matrix<Float>
  let statistics: SiteStatistics?
  let elementType: ElementType
  let store: Trial.Store
  let budget: MatrixBudget
  let parallel: MatrixProduct.ParallelLoop

  /// One method's result.
  struct Outcome: Sendable {
    var method: String
    var parameters: [String: ParameterValue]
    var form: String
    /// Of what is stored.
    var certificate: Certificate
    /// The error before numbers were rounded to the stored type; nil if nothing was rounded.
    var unroundedError: Double?
    var storedNumbers: Int
    /// Bytes of the reduced form.
    var bytes: Int
  }

  func outcome(
    of reduced: ReducedMatrix, _ method: String, _ parameters: [String: ParameterValue]
  ) throws(Problem) -> Outcome {
    let encoding = try encoding(of: reduced.form, name: "w")
    let shift = reduced.outputShift.map { $0.count * ElementType.f32.byteWidth } ?? 0
    var outcome = Outcome(
      method: method, parameters: parameters, form: Self.name(encoding.form), certificate: reduced.certificate,
      unroundedError: nil, storedNumbers: reduced.storedNumbers,
      bytes: encoding.parts.reduce(shift) { $0 + $1.bytes.count })
    if elementType != .f32 {
      outcome.unroundedError = reduced.certificate.error
      let changed = store == .dense ? rounded(try dense(reduced.form)) : try dense(rounded(reduced.form))
      outcome.certificate.error = try error(of: changed, shift: reduced.outputShift).error
    }
    return outcome
  }

  private static func name(_ form: ReducedStorage.Form) -> String {
    if case .pattern(let keep, let of) = form { return "\(keep):\(of)" }
    return form.name
  }

  // MARK: - Forms

  /// The form as files have it. A pattern that files do not know, or that the result does not keep to, is a bitmap.
  func encoding(of form: ReducedMatrix.Form, name: String) throws(Problem) -> ReducedEncoding {
    switch form {
    case .dense(let matrix):
      if case .pattern(let keep, let of) = budget,
        let grouped = try? SparseMatrix(matrix, elementType: elementType, pattern: .groups(keep: keep, of: of))
      {
        return try ReducedEncoding(grouped, name: name)
      }
      return try ReducedEncoding(SparseMatrix(matrix, elementType: elementType), name: name)
    case .factors(let left, let right):
      return try ReducedEncoding(factors: [left, right], elementType: elementType, name: name)
    case .cur(let columns, let link, let rows, _, _):
      return try ReducedEncoding(factors: [columns, link, rows], elementType: elementType, name: name)
    }
  }

  /// Every element: products in float64, rounded once to float32.
  func dense(_ form: ReducedMatrix.Form) throws(Problem) -> Matrix<Float> {
    switch form {
    case .dense(let matrix): return matrix
    case .factors(let left, let right): return try product([left, right])
    case .cur(let columns, let link, let rows, _, _): return try product([columns, link, rows])
    }
  }

  private func product(_ factors: [Matrix<Float>]) throws(Problem) -> Matrix<Float> {
    var product = Matrix<Double>(factors[0])
    for factor in factors.dropFirst() {
      product = try MatrixProduct.product(product, Matrix<Double>(factor), parallel: parallel)
    }
    return Matrix<Float>(product)
  }

  private func rounded(_ form: ReducedMatrix.Form) -> ReducedMatrix.Form {
    switch form {
    case .dense(let matrix): .dense(rounded(matrix))
    case .factors(let left, let right): .factors(left: rounded(left), right: rounded(right))
    case .cur(let columns, let link, let rows, let columnIndices, let rowIndices):
      .cur(
        columns: rounded(columns), link: rounded(link), rows: rounded(rows), columnIndices: columnIndices,
        rowIndices: rowIndices)
    }
  }

  private func rounded(_ matrix: Matrix<Float>) -> Matrix<Float> {
    var matrix = matrix
    matrix.elements = elementType.decoded(elementType.encoded(matrix.elements), count: matrix.elements.count)
    return matrix
  }

  // MARK: - Error

  /// The error of a matrix whose outputs `shift` is added to.
  ///
  /// With D = W - W' and shift s, over the rows x that the statistics saw:
  ///
  ///     sum of |D x - s|² = trace(D G Dᵀ) - 2 sᵀ D (sum of x) + count |s|²
  func error(of changed: Matrix<Float>, shift: [Float]?) throws(Problem) -> Certificate {
    var certificate = try OutputError.certificate(
      of: changed, original: weight, statistics: statistics, parallel: parallel)
    guard let shift, let statistics, case .full(let moment)? = statistics.moment else { return certificate }
    let wide = Matrix<Double>(weight)
    let weighted = try MatrixProduct.product(wide, moment, parallel: parallel)
    let whole = zip(weighted.elements, wide.elements).reduce(0) { $0 + $1.0 * $1.1 }
    guard whole > 0 else { return certificate }
    var squares = certificate.error * certificate.error * whole
    for (row, shift) in shift.enumerated() {
      let s = Double(shift)
      var mean = 0.0
      for j in 0..<weight.columns {
        mean += (Double(weight[row, j]) - Double(changed[row, j])) * statistics.sums[j]
      }
      squares += s * (s * Double(statistics.count) - 2 * mean)
    }
    certificate.error = (max(0, squares) / whole).squareRoot()
    return certificate
  }
}

extension ElementType {
  /// Numbers as files hold them, each rounded once.
  func encoded(_ values: [Float]) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: values.count * byteWidth) { bytes, count in
      if let start = bytes.baseAddress, !values.isEmpty { encode(values, into: start, count: values.count) }
      count = values.count * byteWidth
    }
  }

  func decoded(_ bytes: [UInt8], count: Int) -> [Float] {
    [Float](unsafeUninitializedCapacity: count) { values, initialized in
      bytes.withUnsafeBytes { bytes in
        if let from = bytes.baseAddress, let to = values.baseAddress, count > 0 { decode(from, into: to, count: count) }
      }
      initialized = count
    }
  }
}
