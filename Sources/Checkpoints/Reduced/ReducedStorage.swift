public import EspalierBasics
public import EspalierLinearMaps
public import EspalierNumerics

extension Problem.Code {
  /// A reduced form in a checkpoint that is not known or not whole.
  public static let checkpointReduced = Problem.Code("checkpoint.reduced")
}

/// A parameter that is stored in a reduced form: several tensors beside each other in one file, whose names are the
/// parameter's with a suffix. `Docs/reduced.md` has the layout.
public struct ReducedStorage: Sendable, Hashable, Codable {
  public enum Form: Sendable, Hashable, Codable {
    /// `bitmap`, `row_offsets`, `values`: a ``SparseMatrix``.
    case bitmap
    /// `bitmap`, `values`: a ``SparseMatrix`` with `keep` numbers in `of` columns.
    case pattern(keep: Int, of: Int)
    /// `left`, `right`: a ``ProductMap`` of two.
    case lowRank
    /// `columns`, `link`, `rows`: a ``ProductMap`` of three.
    case cur
    /// `places`, `stack`, `factor`: a ``SplitMap``.
    case split(SplitMap.Axis)

    /// The suffixes of the tensors, in order.
    public var suffixes: [String] {
      switch self {
      case .bitmap: ["bitmap", "row_offsets", "values"]
      case .pattern: ["bitmap", "values"]
      case .lowRank: ["left", "right"]
      case .cur: ["columns", "link", "rows"]
      case .split: ["places", "stack", "factor"]
      }
    }
  }

  /// The parameter's name.
  public let name: String
  public let form: Form
  /// The parameter's shape, of at least two dimensions; all but the last count as rows.
  public let shape: [Int]
  /// The tensors, in the order of ``Form/suffixes``.
  public let parts: [StoredTensor]

  public var rows: Int { shape.dropLast().reduce(1, *) }
  public var columns: Int { shape.last ?? 1 }
  /// What its numbers are stored as; of factors, what the first is stored as, of a split the stack.
  public var elementType: ElementType {
    switch form {
    case .bitmap, .pattern: parts[parts.count - 1].elementType
    case .lowRank, .cur: parts[0].elementType
    case .split: parts[1].elementType
    }
  }

  /// - Throws: `checkpoint.reduced` unless the tensors have the types and shapes that the form says.
  init(name: String, form: Form, shape: [Int], parts: [StoredTensor]) throws(Problem) {
    self.name = name
    self.form = form
    self.shape = shape
    self.parts = parts
    // Nothing empty: it would take memory for rows that the file does not have to hold.
    guard shape.count >= 2, shape.allSatisfy({ $0 > 0 }), shape.checkedProduct != nil else {
      throw Problem(.checkpointReduced, "\(shape) is not the shape of a matrix", tensor: name)
    }
    switch form {
    case .bitmap, .pattern:
      let layout = try layout()
      try require(0, .u8, [rows, layout.words * 8])
      if case .pattern(let keep, let of) = form {
        try require(1, layout.elementType, [rows, columns / of * keep])
      } else {
        try require(1, .i64, [rows + 1])
        try require(2, layout.elementType, [layout.valueCount])
      }
    case .lowRank, .cur:
      var height = rows
      for (index, part) in parts.enumerated() {
        let width = index == parts.count - 1 ? columns : part.shape.last ?? -1
        try requireFloats(index)
        try require(index, part.elementType, [height, width])
        height = width
      }
    case .split(let axis):
      let count = parts[0].shape.first ?? -1
      try require(0, .i32, [count])
      for index in 1...2 { try requireFloats(index) }
      let (stack, factor) = (parts[1], parts[2])
      let extent = (axis == .rows ? stack.shape.first : stack.shape.last) ?? -1
      let all = axis == .rows ? rows : columns
      // Without a rank the others would take memory that the file does not have to hold.
      guard count <= all, count <= extent, count == all || count < extent else {
        throw Problem(
          .checkpointReduced,
          "\(count) places of \(all) \(axis.rawValue), with a stack of \(stack.shape)", tensor: parts[0].name)
      }
      let (rank, others) = (extent - count, all - count)
      try require(1, stack.elementType, axis == .rows ? [extent, columns] : [rows, extent])
      try require(2, factor.elementType, axis == .rows ? [others, rank] : [rank, others])
    }
  }

  private func requireFloats(_ index: Int) throws(Problem) {
    let part = parts[index]
    guard part.elementType.isFloat else {
      throw Problem(
        .checkpointReduced, "the factor is stored in \(part.elementType.safetensorsName)", tensor: part.name)
    }
  }

  private func require(_ index: Int, _ type: ElementType, _ shape: [Int]) throws(Problem) {
    let part = parts[index]
    guard part.elementType == type, part.shape == shape else {
      throw Problem(
        .checkpointReduced,
        "the tensor is \(part.elementType.safetensorsName) \(part.shape), and should be \(type.safetensorsName) \(shape)"
          + " in a matrix of \(rows) x \(columns)", tensor: part.name)
    }
  }

  // MARK: - In memory

  /// Where a sparse matrix has its parts in memory.
  private func layout() throws(Problem) -> SparseLayout {
    let values = parts[parts.count - 1]
    do throws(Problem) {
      switch form {
      case .pattern(let keep, let of):
        return try SparseLayout(
          rows: rows, columns: columns, elementType: values.elementType, pattern: .groups(keep: keep, of: of))
      default:
        return try SparseLayout(
          rows: rows, columns: columns, elementType: values.elementType, valueCount: values.elementCount)
      }
    } catch { throw error.at(tensor: values.name) }
  }

  /// Bytes of the form in memory, a multiple of 64.
  public var memoryBytes: Int {
    switch form {
    case .bitmap, .pattern: (try? layout().byteCount) ?? 0
    case .lowRank, .cur, .split: parts.reduce(0) { $0 + Self.rounded($1.byteCount) }
    }
  }

  private static func rounded(_ bytes: Int) -> Int { (bytes + 63) / 64 * 64 }

  /// Reads the parameter in its form. Everything in it is checked: positions, counts, offsets. NaN is data.
  ///
  /// - Parameter offset: a multiple of 64, from which on the buffer has ``memoryBytes``.
  /// - Throws: `matrix.sparse` for bitmaps, offsets and patterns that contradict each other; what reading throws.
  public func load(into buffer: AlignedBuffer, offset: Int = 0, files: FilePool) throws(Problem) -> any LinearMap {
    do throws(Problem) {
      switch form {
      case .bitmap, .pattern:
        let layout = try layout()
        let starts =
          form == .bitmap
          ? [layout.bitmapStart, layout.offsetsStart, layout.valuesStart] : [layout.bitmapStart, layout.valuesStart]
        for (part, start) in zip(parts, starts) { try read(part, into: buffer, at: offset + start, files: files) }
        return try SparseMatrix(buffer, offset: offset, layout: layout)
      case .lowRank, .cur:
        return try ProductMap(try matrices(parts[...], into: buffer, offset: offset, files: files))
      case .split(let axis):
        try read(parts[0], into: buffer, at: offset, files: files)
        let count = parts[0].elementCount
        let places = (0..<count).map {
          Int(Int32(littleEndian: buffer.address.loadUnaligned(fromByteOffset: offset + 4 * $0, as: Int32.self)))
        }
        let stored = try matrices(
          parts[1...], into: buffer, offset: offset + Self.rounded(parts[0].byteCount), files: files)
        return try SplitMap(axis, places: places, stack: stored[0], factor: stored[1])
      }
    } catch { throw error.at(file: parts[0].file, tensor: name) }
  }

  /// Dense parts, one after the other.
  private func matrices(
    _ parts: ArraySlice<StoredTensor>, into buffer: AlignedBuffer, offset: Int, files: FilePool
  ) throws(Problem) -> [StoredMatrix] {
    var matrices: [StoredMatrix] = []
    var place = offset
    for part in parts {
      try read(part, into: buffer, at: place, files: files)
      matrices.append(
        try StoredMatrix(buffer, offset: place, format: part.format, rows: part.shape[0], columns: part.shape[1]))
      place += Self.rounded(part.byteCount)
    }
    return matrices
  }

  private func read(
    _ part: StoredTensor, into buffer: AlignedBuffer, at offset: Int, files: FilePool
  ) throws(Problem) {
    let target = UnsafeMutableRawBufferPointer(start: buffer.address + offset, count: part.byteCount)
    do throws(Problem) { try files.file(part.file).read(into: target, at: part.offset) } catch {
      throw error.at(tensor: part.name)
    }
  }
}

extension Parameter {
  init(_ reduced: ReducedStorage) {
    self.init(
      name: reduced.name, shape: reduced.shape, elementType: reduced.elementType, recipe: .reduced(reduced))
  }

  /// The reduced form that the parameter is stored in; nil if it is stored otherwise, or changed since.
  public var reducedForm: ReducedStorage? { if case .reduced(let storage) = recipe { storage } else { nil } }
}
