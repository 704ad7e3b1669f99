internal import EspalierBasics
internal import EspalierCalibration
internal import EspalierLinearMaps
internal import EspalierNumerics

/// What an error in a column counts, by weight: the mean square of the activations that meet the column.
struct ImportanceColumns {
  private let entries: [ExactString: ImportanceMatrix.Entry]

  init(_ matrix: ImportanceMatrix?) {
    entries = Dictionary(
      (matrix?.entries ?? []).map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
  }

  var byteCount: Int { entries.values.reduce(0) { $0 + 4 * $1.squareSums.count } }

  /// `[matrices, columns]` of a weight; nil if nothing is known. An expert that no token reached counts everywhere alike.
  func columns(of tensor: TypedTensor) -> [Float]? {
    guard let entry = entries[ExactString(tensor.name)], Self.fits(entry, tensor) else { return nil }
    let width = entry.width
    return entry.squareSums.indices.map { index in
      let count = entry.counts[entry.counts.count == 1 ? 0 : index / width]
      return count > 0 ? Float(entry.squareSums[index] / count) : 1
    }
  }

  private static func fits(_ entry: ImportanceMatrix.Entry, _ tensor: TypedTensor) -> Bool {
    let matrices = tensor.shape.count > 2 ? tensor.shape.dropLast(2).reduce(1, *) : 1
    return entry.width == tensor.shape.last && [1, matrices].contains(entry.counts.count)
      && entry.squareSums.count == entry.width * entry.counts.count
  }

  /// Entries of another shape, and weights that have none though others do.
  func problems(among tensors: [TypedTensor], _ choices: [TensorTypes.Choice]) -> [Problem] {
    guard !entries.isEmpty else { return [] }
    var problems: [Problem] = []
    var (missing, misfits) = ([String](), [Problem]())
    for (tensor, choice) in zip(tensors, choices) {
      guard case .blocks = choice.format else { continue }
      guard let entry = entries[ExactString(tensor.name)] else {
        missing.append(tensor.name)
        continue
      }
      if !Self.fits(entry, tensor) {
        misfits.append(
          Problem(
            .importanceFormat,
            "the importance has \(entry.squareSums.count) values and \(entry.width) columns where the model has rows of "
              + "\(tensor.shape.last ?? 0)",
            remedy: "The file is of another model.", tensor: tensor.name))
      }
    }
    problems += misfits.gathered()
    let inLayers = missing.filter { $0.hasPrefix("blk.") }
    if let first = inLayers.first {
      problems.append(
        Problem(
          .importanceFormat, "\(inLayers.count) weights have no importance, \(first) first",
          remedy: "They are quantized by magnitudes alone.", severity: .warning))
    }
    return problems
  }
}
