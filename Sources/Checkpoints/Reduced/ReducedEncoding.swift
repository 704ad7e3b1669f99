public import EspalierBasics
public import EspalierLinearMaps
public import EspalierNumerics

/// A linear map as the tensors that a file stores it in.
public struct ReducedEncoding: Sendable {
  public struct Part: Sendable {
    /// The parameter's name with a suffix.
    public let name: String
    public let elementType: ElementType
    public let shape: [Int]
    /// The tensor's bytes as they go into the file.
    public let bytes: [UInt8]

    public init(name: String, elementType: ElementType, shape: [Int], bytes: [UInt8]) {
      self.name = name
      self.elementType = elementType
      self.shape = shape
      self.bytes = bytes
    }
  }

  public let name: String
  public let form: ReducedStorage.Form
  public let shape: [Int]
  public let parts: [Part]

  /// - Parameter shape: of the parameter; nil means that of the matrix.
  /// - Throws: `matrix.shape` unless the shape's rows and columns are the matrix's.
  public init(_ matrix: SparseMatrix, name: String, shape: [Int]? = nil) throws(Problem) {
    let layout = matrix.layout
    self.name = name
    self.shape = try Self.shape(shape, of: matrix)
    let bitmap = Part("\(name).bitmap", .u8, [layout.rows, layout.words * 8], matrix.bitmap)
    switch layout.pattern {
    case .unstructured:
      form = .bitmap
      parts = [
        bitmap, Part("\(name).row_offsets", .i64, [layout.rows + 1], matrix.offsets),
        Part("\(name).values", layout.elementType, [layout.valueCount], matrix.values),
      ]
    case .groups(let keep, let of):
      form = .pattern(keep: keep, of: of)
      parts = [
        bitmap,
        Part("\(name).values", layout.elementType, [layout.rows, layout.columns / of * keep], matrix.values),
      ]
    }
  }

  /// Two factors, or the three of a CUR decomposition, each number rounded once to the element type.
  ///
  /// - Throws: `matrix.shape` for other numbers of factors, neighbours that cannot be multiplied, and as above;
  ///   `matrix.format` for an element type that is no weight's.
  public init(
    factors: [Matrix<Float>], elementType: ElementType, name: String, shape: [Int]? = nil
  ) throws(Problem) {
    guard (2...3).contains(factors.count) else {
      throw Problem(.matrixShape, "\(factors.count) factors; a file has 2 or 3")
    }
    guard elementType.isFloat else {
      throw Problem(.matrixFormat, "\(elementType.safetensorsName) is not a type of weights")
    }
    for (left, right) in zip(factors, factors.dropFirst()) where left.columns != right.rows {
      throw Problem(
        .matrixShape, "\(left.rows) x \(left.columns) cannot be multiplied by \(right.rows) x \(right.columns)")
    }
    let whole = [factors[0].rows, factors[factors.count - 1].columns]
    let form: ReducedStorage.Form = factors.count == 2 ? .lowRank : .cur
    self.name = name
    self.form = form
    self.shape = try Self.shape(shape, rows: whole[0], columns: whole[1])
    parts = zip(form.suffixes, factors).map { suffix, factor in Part("\(name).\(suffix)", elementType, factor) }
  }

  /// Whole rows or columns with the factors of the others, each number rounded once to the element type.
  ///
  /// - Throws: `matrix.shape` as above, and for places that are not ascending or beyond 32 bits; `matrix.format` for an
  ///   element type that is no weight's.
  public init(
    _ split: SplitFactors, elementType: ElementType, name: String, shape: [Int]? = nil
  ) throws(Problem) {
    guard elementType.isFloat else {
      throw Problem(.matrixFormat, "\(elementType.safetensorsName) is not a type of weights")
    }
    let count = split.axis == .rows ? split.rows : split.columns
    guard count <= Int(Int32.max), zip([-1] + split.places, split.places + [count]).allSatisfy({ $0 < $1 }) else {
      throw Problem(.matrixShape, "places \(split.places) are not ascending places of \(count) \(split.axis.rawValue)")
    }
    self.name = name
    form = .split(split.axis)
    self.shape = try Self.shape(shape, rows: split.rows, columns: split.columns)
    let places = split.places.map { Int32($0).littleEndian }.withUnsafeBytes(Array.init)
    parts = [
      Part("\(name).places", .i32, [split.places.count], places),
      Part("\(name).stack", elementType, try split.stack), Part("\(name).factor", elementType, split.factor),
    ]
  }

  private static func shape(_ shape: [Int]?, of map: some LinearMap) throws(Problem) -> [Int] {
    try Self.shape(shape, rows: map.outputWidth, columns: map.inputWidth)
  }

  private static func shape(_ shape: [Int]?, rows: Int, columns: Int) throws(Problem) -> [Int] {
    guard let shape else { return [rows, columns] }
    guard shape.count >= 2, shape.checkedProduct != nil, shape.dropLast().reduce(1, *) == rows, shape.last == columns
    else { throw Problem(.matrixShape, "a matrix of \(rows) x \(columns) is not of the shape \(shape)") }
    return shape
  }
}

extension ReducedEncoding.Part {
  fileprivate init(_ name: String, _ type: ElementType, _ shape: [Int], _ bytes: some Sequence<UInt8>) {
    self.name = name
    elementType = type
    self.shape = shape
    self.bytes = Array(bytes)
  }

  fileprivate init(_ name: String, _ type: ElementType, _ matrix: Matrix<Float>) {
    let count = matrix.elements.count
    let bytes = [UInt8](unsafeUninitializedCapacity: count * type.byteWidth) { bytes, written in
      written = count * type.byteWidth
      guard let start = bytes.baseAddress else { return }
      type.encode(matrix.elements, into: UnsafeMutableRawPointer(start), count: count)
    }
    self.init(name, type, [matrix.rows, matrix.columns], bytes)
  }
}
