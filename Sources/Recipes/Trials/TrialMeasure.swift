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
    let shift = reduced.outputShift.map { $0.count * ElementType.f32.byteWidth } ?? 0
    let (form, bytes): (String, Int)
    if case .quantized(let matrix) = reduced.form {
      (form, bytes) = ("codes", shift + matrix.packedByteCount)
    } else {
      let encoding = try encoding(of: reduced.form, name: "w")
      (form, bytes) = (Self.name(encoding.form), encoding.parts.reduce(shift) { $0 + $1.bytes.count })
    }
    var outcome = Outcome(
      method: method, parameters: parameters, form: form, certificate: reduced.certificate, unroundedError: nil,
      storedNumbers: reduced.storedNumbers, bytes: bytes)
    if elementType != .f32 {
      outcome.unroundedError = reduced.certificate.error
      let changed =
        store == .dense
        ? try reduced.form.materialized(parallel: parallel).rounded(to: elementType)
        : try reduced.form.map { $0.rounded(to: elementType) }.materialized(parallel: parallel)
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
    case .quantized:
      throw Problem(
        .reduction, "codes have no reduced form in a file of one matrix", remedy: "Store the trial dense.")
    case .split(let split): return try ReducedEncoding(split, elementType: elementType, name: name)
    case .factors, .cur: return try ReducedEncoding(factors: form.factors, elementType: elementType, name: name)
    }
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
}
