internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNumerics

/// A change that was coded, its parts in a scratch file.
struct EncodedDelta: Sendable {
  var tensor: DeltaTensor
  /// Entries that are stored.
  var kept: Int
  /// Of the change d.
  var squaredNorm: Double
  /// Of the coded change v, and d . v.
  var codedSquares: Double
  var crossing: Double
  /// What an order-0 coder of bytes would need at the least.
  var entropyBytes: Double

  /// ‖d - v‖².
  var squaredError: Double { max(0, squaredNorm - 2 * crossing + codedSquares) }
  var bytes: Int { tensor.byteCount }

  /// The same with the coded change multiplied.
  func scaled(by factor: Double) -> EncodedDelta {
    var scaled = self
    scaled.tensor.scale *= factor
    scaled.codedSquares *= factor * factor
    scaled.crossing *= factor
    return scaled
  }
}

extension EncodedDelta: CodedChange {
  var parts: [StoredTensor] { tensor.parts }
  var digests: [Digest] { tensor.digests }

  var record: JSON {
    [
      "entry": tensor.entry, "kept": .number(kept), "squared_norm": .number(squaredNorm),
      "coded_squares": .number(codedSquares), "crossing": .number(crossing), "entropy_bytes": .number(entropyBytes),
    ]
  }

  init(_ name: String, _ record: JSON, parts: [ExactString: StoredTensor]) throws(Problem) {
    var parts = parts
    guard let entry = record["entry"], let kept = record["kept"]?.integer,
      let squaredNorm = record["squared_norm"]?.number, let codedSquares = record["coded_squares"]?.number,
      let crossing = record["crossing"]?.number, let entropyBytes = record["entropy_bytes"]?.number
    else { throw Problem(.journalDamaged, "the note of a coded change is not whole", tensor: name) }
    self.init(
      tensor: try DeltaTensor(name, entry, taking: &parts), kept: kept, squaredNorm: squaredNorm,
      codedSquares: codedSquares, crossing: crossing, entropyBytes: entropyBytes)
  }
}
