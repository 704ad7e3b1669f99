internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics
internal import EspalierReduction

/// A reduced matrix as it will be stored: each number rounded once to the parameter's type.
struct StoredWeight {
  let form: ReducedMatrix.Form
  /// What the form stands for, `[outputs, inputs]`.
  let dense: Matrix<Float>
  /// Numbers that are left: those that are not zero, or those of the factors and what is whole beside them.
  let numbers: Int
  /// Its rows as blocks; nil where it is stored otherwise.
  let blocks: [UInt8]?

  /// - Parameters:
  ///   - storage: factors that are stored densely are multiplied out before anything is rounded.
  ///   - divisors: of packed codes, by what each row was divided before it was rounded; nil for nothing.
  init(
    _ form: ReducedMatrix.Form, as type: ElementType, _ storage: ReductionRequest.Storage, divisors: [Float]? = nil,
    parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) {
    blocks = nil
    if storage == .dense {
      dense = try form.materialized(parallel: parallel).rounded(to: type)
      self.form = .dense(dense)
    } else if storage == .packed, case .quantized(var matrix) = form {
      // What columns were multiplied by is in what makes their inputs by now, what rows were divided by in the columns
      // behind them.
      let values = try matrix.materialized()
      dense = divisors.map { values.multiplied(rows: $0) } ?? values
      matrix.inputScales = nil
      self.form = .quantized(matrix)
    } else {
      self.form = form.map { $0.rounded(to: type) }
      dense = try self.form.materialized(parallel: parallel)
    }
    numbers = form.factorNumbers ?? dense.elements.count { $0 != 0 }
  }

  /// The parts in which the parameter that it is all of is stored in a reduced form.
  ///
  /// - Parameter pattern: of the zeros of a dense matrix.
  func reducedEncoding(
    of parameter: Parameter, isTransposed: Bool, pattern: SparsePattern
  ) throws(Problem) -> ReducedEncoding {
    let type = parameter.elementType
    guard form.factors.isEmpty else {
      // (A B)ᵀ = Bᵀ Aᵀ
      let ordered = isTransposed ? form.factors.reversed().map(\.transposed) : form.factors
      return try ReducedEncoding(factors: ordered, elementType: type, name: parameter.name, shape: parameter.shape)
    }
    if case .split(let split) = form {
      return try ReducedEncoding(
        isTransposed ? split.transposed : split, elementType: type, name: parameter.name, shape: parameter.shape)
    }
    let matrix = try SparseMatrix(
      isTransposed ? dense.transposed : dense, elementType: type, pattern: isTransposed ? .unstructured : pattern)
    return try ReducedEncoding(matrix, name: parameter.name, shape: parameter.shape)
  }
}

extension Matrix<Float> {
  func rounded(to type: ElementType) -> Matrix<Float> {
    guard type != .f32 else { return self }
    var result = self
    let bytes = type.encoded(elements)
    bytes.withUnsafeBytes { bytes in
      result.elements.withUnsafeMutableBufferPointer { target in
        guard let source = bytes.baseAddress, let target = target.baseAddress else { return }
        type.decode(source, into: target, count: elements.count)
      }
    }
    return result
  }
}
