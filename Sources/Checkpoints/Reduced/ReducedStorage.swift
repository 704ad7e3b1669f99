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

    /// The suffixes of the tensors, in order.
    public var suffixes: [String] {
      switch self {
      case .bitmap: ["bitmap", "row_offsets", "values"]
      case .pattern: ["bitmap", "values"]
      case .lowRank: ["left", "right"]
      case .cur: ["columns", "link", "rows"]
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
  /// What its numbers are stored as; of factors, what the first is stored as.
  public var elementType: ElementType {
    switch form {
    case .bitmap, .pattern: parts[parts.count - 1].elementType
    case .lowRank, .cur: parts[0].elementType
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
        guard part.elementType.isFloat else {
          throw Problem(
            .checkpointReduced, "the factor is stored in \(part.elementType.safetensorsName)", tensor: part.name)
        }
        try require(index, part.elementType, [height, width])
        height = width
      }
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
    case .lowRank, .cur: parts.reduce(0) { $0 + Self.rounded($1.byteCount) }
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
        var factors: [any LinearMap] = []
        var place = offset
        for part in parts {
          try read(part, into: buffer, at: place, files: files)
          factors.append(
            try StoredMatrix(
              buffer, offset: place, format: part.format, rows: part.shape[0], columns: part.shape[1]))
          place += Self.rounded(part.byteCount)
        }
        return try ProductMap(factors)
      }
    } catch { throw error.at(file: parts[0].file, tensor: name) }
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
