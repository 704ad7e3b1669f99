internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// The change of one tensor, span by span: fine-tuned minus base in float32, or the tensor itself where the base is
/// zero.
final class DeltaSource {
  /// Whole blocks, whole bytes of five trits, whole words of a mask.
  static let spanLength = 5 * 16 * CanonicalSum.blockLength

  let name: String
  let shape: [Int]
  let count: Int
  private let readers: [any ParameterReader]
  private let values: AlignedBuffer
  private let other: AlignedBuffer
  private let scratch: AlignedBuffer

  init(_ fineTuned: Parameter, base: Parameter?, files: FilePool) throws(Problem) {
    (name, shape, count) = (fineTuned.name, fineTuned.shape, fineTuned.elementCount)
    var readers = [try fineTuned.recipe.reader(files: files)]
    if let base { readers.append(try base.recipe.reader(files: files)) }
    self.readers = readers
    let span = min(Self.spanLength, count)
    values = try AlignedBuffer(count: span, of: Float.self)
    other = try AlignedBuffer(count: base == nil ? 0 : span, of: Float.self)
    scratch = try AlignedBuffer(byteCount: max(64, readers.map { $0.scratchBytes(for: span) }.max() ?? 0))
  }

  /// What it takes.
  static func memoryBytes(_ fineTuned: Parameter, base: Parameter?) -> Int {
    let span = min(spanLength, fineTuned.elementCount)
    let recipes = [fineTuned.recipe] + (base.map { [$0.recipe] } ?? [])
    return 8 * span + recipes.reduce(0) { $0 + $1.residentBytes + $1.scratchBytes(for: span) }
  }

  /// The spans that a tensor is cut into.
  static func spans(of count: Int) -> [Range<Int>] {
    stride(from: 0, to: count, by: spanLength).map { $0..<min(count, $0 + spanLength) }
  }

  /// The change in a span, in a buffer that the next one overwrites.
  func values(in range: Range<Int>) throws(Problem) -> UnsafeMutablePointer<Float> {
    let (values, other) = (values.floats.baseAddress!, other.floats.baseAddress!)
    try readers[0].read(range, into: values, scratch: scratch.address)
    if readers.count > 1 {
      try readers[1].read(range, into: other, scratch: scratch.address)
      for index in 0..<range.count { values[index] -= other[index] }
    }
    return values
  }

  /// Spans in their order; the values may be overwritten.
  func forEachSpan(
    _ body: (Range<Int>, UnsafeMutablePointer<Float>) throws(Problem) -> Void
  ) throws(Problem) {
    for range in Self.spans(of: count) { try body(range, try values(in: range)) }
  }

  /// Integers have no delta.
  ///
  /// - Throws: `delta.mismatch` if anything changed.
  func requireNothing() throws(Problem) {
    try forEachSpan { (range, values) throws(Problem) in
      for index in 0..<range.count where values[index] != 0 {
        throw Problem(.deltaMismatch, "the models have other integers from element \(range.lowerBound + index) on")
      }
    }
  }

  /// The same cut into blocks.
  func forEachBlock(
    _ body: (_ index: Int, Range<Int>, UnsafeMutablePointer<Float>) throws(Problem) -> Void
  ) throws(Problem) {
    try forEachSpan { (span, values) throws(Problem) in
      for range in CanonicalSum.blocks(of: span.count) {
        let start = span.lowerBound + range.lowerBound
        try body(start / CanonicalSum.blockLength, start..<start + range.count, values + range.lowerBound)
      }
    }
  }

  /// Rows along the first dimension.
  func matrix() throws(Problem) -> Matrix<Float> {
    var elements = [Float](repeating: 0, count: count)
    try elements.withUnsafeMutableBufferPointer { (elements) throws(Problem) in
      try forEachSpan { range, values in
        (elements.baseAddress! + range.lowerBound).update(from: values, count: range.count)
      }
    }
    return try Matrix(rows: shape[0], columns: count / max(1, shape[0]), elements: elements)
  }
}
