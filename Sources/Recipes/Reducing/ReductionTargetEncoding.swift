internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

extension ReductionTarget {
  /// A parameter as the tensors it is written in.
  struct Encoding {
    var parts: [ReducedEncoding.Part]
    /// The form and the shape of a parameter that is stored in one; nil for a plain tensor.
    var reduced: (name: String, form: ReducedStorage.Form, shape: [Int])?

    fileprivate init(_ encoding: ReducedEncoding) {
      parts = encoding.parts
      reduced = (encoding.name, encoding.form, encoding.shape)
    }

    fileprivate init(plain part: ReducedEncoding.Part) { parts = [part] }
  }

  /// The parameter with its matrices as they have become.
  ///
  /// - Parameters:
  ///   - weights: of each of its matrices.
  ///   - pattern: of the zeros of a matrix that is all of the parameter.
  func encoded(
    _ weights: [StoredWeight], storage: ReductionRequest.Storage, pattern: SparsePattern
  ) throws(Problem) -> Encoding {
    let values = try elements(with: weights)
    guard storage == .reduced else { return plain(values) }
    if let matrix = wholeMatrix, let weight = weights.first {
      let encoding = try weight.reducedEncoding(of: parameter, isTransposed: matrix.isTransposed, pattern: pattern)
      return weight.form.factors.isEmpty ? smaller(encoding, values) : Encoding(encoding)
    }
    let columns = parameter.shape.last ?? 1
    let matrix = try Matrix(rows: values.count / max(1, columns), columns: columns, elements: values)
    return smaller(
      try ReducedEncoding(
        try SparseMatrix(matrix, elementType: parameter.elementType), name: parameter.name, shape: parameter.shape),
      values)
  }

  private func plain(_ values: [Float]) -> Encoding {
    Encoding(
      plain: ReducedEncoding.Part(
        name: parameter.name, elementType: parameter.elementType, shape: parameter.shape,
        bytes: parameter.elementType.encoded(values)))
  }

  /// A form of its own, or every number in place where that takes no more.
  private func smaller(_ encoding: ReducedEncoding, _ values: [Float]) -> Encoding {
    let bytes = encoding.parts.reduce(0) { $0 + $1.bytes.count }
    return bytes < values.count * parameter.elementType.byteWidth ? Encoding(encoding) : plain(values)
  }

  /// All numbers of the parameter in its own layout: those of the matrices as they have become, others as they are.
  private func elements(with weights: [StoredWeight]) throws(Problem) -> [Float] {
    if let matrix = wholeMatrix, let weight = weights.first {
      return matrix.isTransposed ? weight.dense.transposed.elements : weight.dense.elements
    }
    var values = try parameter.allElements()
    for (matrix, weight) in zip(matrices, weights) {
      for (row, place) in (matrix.rows ?? Array(0..<matrix.outputs)).enumerated() {
        for column in 0..<matrix.inputs { values[place * matrix.inputs + column] = weight.dense[row, column] }
      }
    }
    return values
  }
}

extension Parameter {
  /// Every number, in the order of the parameter's shape.
  func allElements() throws(Problem) -> [Float] {
    let reader = try recipe.reader(files: FilePool())
    let scratch = try AlignedBuffer(byteCount: reader.scratchBytes(for: elementCount))
    var values = [Float](repeating: 0, count: elementCount)
    try values.withUnsafeMutableBufferPointer { (values) throws(Problem) in
      guard let start = values.baseAddress else { return }
      try reader.read(0..<elementCount, into: start, scratch: scratch.address)
    }
    return values
  }
}
