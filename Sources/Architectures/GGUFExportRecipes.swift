internal import EspalierBasics
internal import EspalierCheckpoints

// Recipes of a checkpoint's parameters turned into those of a GGUF file's tensors. What undoes the step before it
// disappears with it: the tensors of a GGUF file come out as they are stored, quantized blocks included.
extension StorageRecipe {
  /// A function of every element.
  func mapping(by map: ElementMap) -> StorageRecipe {
    if case .mapped(let base, map.inverse) = self { return base }
    return .mapped(self, map)
  }

  /// - Parameter shape: of the result.
  func transposing(to shape: [Int]) -> StorageRecipe {
    if case .transposed(let base, _) = self { return base }
    return .transposed(self, shape: shape)
  }

  /// - Parameter order: by which the rows of the result are found in this recipe.
  func reordering(by order: RowOrder) throws(Problem) -> StorageRecipe {
    if case .reordered(let base, let own) = self, try own.inverse == order { return base }
    return .reordered(self, order)
  }

  /// Consecutive rows.
  ///
  /// - Parameter shape: of all, `[rows, columns]`.
  func rows(_ rows: Range<Int>, of shape: [Int]) -> StorageRecipe {
    let part = [rows.count] + shape.dropFirst()
    func slice(_ tensor: StoredTensor) -> StoredTensor {
      var whole = tensor
      whole.shape = shape
      return whole.rows(rows, name: "\(tensor.name)[\(rows.lowerBound)...]", shape: part)
    }
    switch self {
    case .stored(let tensor): return .stored(slice(tensor))
    case .coded(let tensor): return .coded(slice(tensor))
    default:
      return .gathered([.rows(source: 0, first: rows.lowerBound, count: rows.count)], sources: [self], shape: part)
    }
  }

  /// Parameters of one shape, stacked along a new first dimension; slices that lie side by side become one tensor again.
  static func stack(_ parts: [StorageRecipe], shape: [Int], name: String) -> StorageRecipe {
    let tensors = parts.compactMap { part -> StoredTensor? in
      switch part {
      case .stored(let tensor), .coded(let tensor): tensor
      default: nil
      }
    }
    if tensors.count == parts.count, let first = tensors.first, let recipe = parts.first,
      zip(tensors, tensors.dropFirst()).allSatisfy({ a, b in
        a.file == b.file && a.format == b.format && a.offset + a.byteCount == b.offset
      })
    {
      let whole = StoredTensor(
        name: name, format: first.format, shape: shape, file: first.file, offset: first.offset,
        byteCount: tensors.reduce(0) { $0 + $1.byteCount })
      if case .coded = recipe { return .coded(whole) }
      return .stored(whole)
    }
    return .gathered(parts.indices.map { .rows(source: $0, first: 0, count: 1) }, sources: parts, shape: shape)
  }
}
