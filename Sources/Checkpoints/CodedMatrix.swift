public import EspalierBasics
public import EspalierLinearMaps

/// A matrix whose rows can be taken from a file as they are coded, without decoding them.
public struct CodedMatrix: Sendable, Hashable, Codable {
  /// The rows as they lie in the file, one after the other.
  public var stored: StoredTensor
  public var rows: Int
  public var columns: Int
  /// Where the file has the rows; nil if in order.
  public var order: RowOrder?

  public var format: WeightFormat { stored.format }
  /// Bytes of a row.
  public var rowBytes: Int { stored.format.byteCount(of: columns) }
  public var byteCount: Int { rows * rowBytes }

  /// Reads coded rows.
  ///
  /// - Parameters:
  ///   - range: rows of the matrix, in its order.
  ///   - destination: room for them.
  /// - Throws: what reading the file throws, with the tensor named.
  public func read(
    rows range: Range<Int>, into destination: UnsafeMutableRawPointer, files: FilePool
  ) throws(Problem) {
    let file = try files.file(stored.file)
    var row = range.lowerBound
    while row < range.upperBound {
      let place = order?.storedRow(of: row) ?? row
      var end = order == nil ? range.upperBound : row + 1
      while let order, end < range.upperBound, order.storedRow(of: end) == place + end - row { end += 1 }
      let into = UnsafeMutableRawBufferPointer(
        start: destination + (row - range.lowerBound) * rowBytes, count: (end - row) * rowBytes)
      do throws(Problem) { try file.read(into: into, at: stored.offset + place * rowBytes) } catch {
        throw error.at(tensor: stored.name)
      }
      row = end
    }
  }
}

extension Parameter {
  /// The matrix this parameter is, as coded rows; nil if it cannot be had without computing. Leading dimensions count as
  /// rows.
  ///
  /// - Parameter transposed: asks for the transpose, `[last, first]`: what a network wants of a parameter that
  ///   checkpoints store as `[in, out]`.
  public func codedMatrix(transposed: Bool = false) -> CodedMatrix? {
    guard shape.count >= 2, let columns = transposed ? shape.first : shape.last, columns > 0 else { return nil }
    var recipe = recipe
    if transposed {
      guard shape.count == 2, case .transposed(let base, _) = recipe else { return nil }
      recipe = base
    }
    var order: RowOrder?
    if case .reordered(let base, let rows) = recipe {
      order = rows
      recipe = base
    }
    let rows = elementCount / columns
    switch recipe {
    case .stored(let tensor), .coded(let tensor):
      guard order == nil || order?.rowCount == rows else { return nil }
      return CodedMatrix(stored: tensor, rows: rows, columns: columns, order: order)
    default: return nil
    }
  }

  /// How the file stores the parameter's numbers; nil if it comes from several formats.
  public var storedFormat: WeightFormat? {
    let formats = Set(recipe.storedTensors.map(\.format))
    return formats.count == 1 ? formats.first : nil
  }

  /// The quantized layout that the parameter is stored in; nil if it is stored otherwise, or changed since.
  public var packedForm: PackedStorage? { packedForm() }

  /// The same for a parameter that is the transpose of what the layout has, as in ``codedMatrix(transposed:)``.
  public func packedForm(transposed: Bool = false) -> PackedStorage? {
    switch recipe {
    case .packed(let storage) where !transposed: storage
    case .transposed(.packed(let storage), _) where transposed: storage
    default: nil
    }
  }

  /// Whether its numbers come from quantized blocks, or from codes with scales.
  public var isQuantized: Bool { recipe.isQuantized }
}

extension StorageRecipe {
  fileprivate var isQuantized: Bool {
    switch self {
    case .packed: true
    case .reordered, .transposed, .mapped, .updated, .gathered, .selected, .combined:
      sources.contains(where: \.isQuantized)
    case .stored, .coded, .reduced:
      storedTensors.contains { if case .blocks = $0.format { true } else { false } }
    }
  }
}
