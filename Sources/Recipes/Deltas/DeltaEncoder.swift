internal import CKernels
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// Codes the change of one tensor by a method.
///
/// Vectors and tensors of fewer than 256 entries are stored densely whatever the method: they are small, and norms
/// bear no zeros.
struct DeltaEncoder {
  let options: DeltaOptions
  let method: DeltaMethod
  let scratch: TensorScratch
  let parallel: MatrixProduct.ParallelLoop

  static func isCoded(_ shape: [Int]) -> Bool { shape.count >= 2 && shape.reduce(1, *) >= 256 }

  /// What coding takes beside the source.
  static func memoryBytes(_ shape: [Int], method: DeltaMethod) -> Int {
    let count = shape.reduce(1, *)
    let span = 16 * min(DeltaSource.spanLength, count)
    switch isCoded(shape) ? method : .int8 {
    case .ternary, .topk, .auto: return span + RankSelector.memoryBound(count: count, requests: 1)
    case .dare, .darex, .int8: return span + 8 * (shape.first ?? 1)
    case .lowrank:
      let (m, n) = (Double(shape[0]), Double(count / max(1, shape[0])))
      let r = min(m, n)
      return Int(min(1e18, 48 * m * n + 16 * (m + n) * r + 40 * r * r))
    }
  }

  /// What the parts take at most, but for chance.
  static func storedBytes(_ shape: [Int], options: DeltaOptions, method: DeltaMethod) -> Int {
    let count = shape.reduce(1, *)
    let width = options.values.byteWidth
    let kept = Int(options.keptShare * Double(count)) + 1
    guard isCoded(shape) else { return max(2, width) * count }
    switch method {
    case .ternary: return count / 5 + 1
    case .topk: return count / 8 + 1 + kept * width
    case .dare, .darex, .auto: return kept * width
    case .int8: return count + 4 * shape[0]
    case .lowrank:
      let columns = count / max(1, shape[0])
      return min(options.rank ?? .max, shape[0], columns) * (shape[0] + columns) * max(2, width)
    }
  }

  /// What a first pass finds.
  private struct Summary {
    var squares = 0.0
    var sum = 0.0
    var largest: Float = 0
    var nonzero = 0
  }

  /// - Returns: nil if nothing changed.
  func encode(_ source: DeltaSource) throws(Problem) -> EncodedDelta? {
    var summary = Summary()
    try source.forEachBlock { (_, range, values) throws(Problem) in
      if let bad = firstNonfinite(values, count: range.count) {
        throw Problem(
          .nonFiniteMatrix, "the change is not finite at element \(range.lowerBound + bad)",
          remedy: "One of the models holds NaN or infinity.")
      }
      summary.squares += es_square_sum(values, Int64(range.count))
      summary.sum += es_sum(values, Int64(range.count))
      for index in 0..<range.count {
        summary.largest = max(summary.largest, abs(values[index]))
        summary.nonzero += values[index] == 0 ? 0 : 1
      }
    }
    guard summary.nonzero > 0 else { return nil }
    guard Self.isCoded(source.shape) else { return try dense(source, summary) }
    switch method {
    case .ternary: return try ternary(source, summary)
    case .topk: return try largest(source, summary)
    case .dare: return try random(source, summary, divisor: options.keptShare)
    case .darex, .auto: return try random(source, summary, divisor: options.q ?? 1)
    case .int8: return try rows8(source, summary)
    case .lowrank: return try lowRank(source, summary)
    }
  }

  // MARK: - Results

  private func finish(
    _ source: DeltaSource, _ form: DeltaTensor.Form, scale: Double, _ parts: [StoredTensor], kept: Int,
    _ summary: Summary, codedSquares: Double, crossing: Double
  ) throws(Problem) -> EncodedDelta {
    var digests: [Digest] = []
    var entropy = 0.0
    for part in parts {
      let found = try scratch.measure(part)
      digests.append(found.digest)
      entropy += found.entropyBytes
    }
    let tensor = try DeltaTensor(
      name: source.name, shape: source.shape, form: form, scale: scale, parts: parts, digests: digests)
    return EncodedDelta(
      tensor: tensor, kept: kept, squaredNorm: summary.squares, codedSquares: codedSquares, crossing: crossing,
      entropyBytes: entropy)
  }

  private func reserve(_ source: DeltaSource, _ suffix: String, _ type: ElementType, _ shape: [Int]) -> StoredTensor {
    scratch.reserve("\(source.name).\(suffix)", type, shape)
  }

  // MARK: - Signs

  private func cut(_ source: DeltaSource, keeping count: Int) throws(Problem) -> RankCut {
    let selector = RankSelector(count: source.count, requests: [RankRequest(count: count)])
    let sampled = Set(selector.sampleBlocks)
    if !sampled.isEmpty {
      try source.forEachBlock { index, range, values in
        guard sampled.contains(index) else { return }
        selector.addSample(channel: 0, values: UnsafeBufferPointer(start: values, count: range.count))
      }
    }
    while !selector.isFinished {
      try selector.beginPass()
      try source.forEachBlock { index, range, values in
        selector.scan(block: index, channel: 0, values: UnsafeBufferPointer(start: values, count: range.count))
      }
      try selector.endPass()
    }
    return selector.cut(of: 0)
  }

  private func keptCount(_ source: DeltaSource) -> Int {
    max(1, Int((options.keptShare * Double(source.count)).rounded()))
  }

  private func ternary(_ source: DeltaSource, _ summary: Summary) throws(Problem) -> EncodedDelta {
    let cut = try cut(source, keeping: keptCount(source))
    let part = reserve(source, "trits", .u8, [(source.count + 4) / 5])
    let codes = try AlignedBuffer(byteCount: (DeltaSource.spanLength + 4) / 5)
    var (kept, magnitudes) = (0, 0.0)
    try source.forEachSpan { (span, values) throws(Problem) in
      for block in CanonicalSum.blocks(of: span.count) {
        let start = values + block.lowerBound
        cut.apply(
          to: start, count: block.count, block: (span.lowerBound + block.lowerBound) / CanonicalSum.blockLength)
        magnitudes += es_abs_sum(start, Int64(block.count))
      }
      for index in 0..<span.count { kept += values[index] == 0 ? 0 : 1 }
      es_pack_trits(values, Int64(span.count), codes.address.assumingMemoryBound(to: UInt8.self))
      try scratch.write(
        UnsafeRawBufferPointer(rebasing: codes.bytes[..<((span.count + 4) / 5)]), to: part, at: span.lowerBound / 5)
    }
    let mean = summary.sum / Double(source.count)
    let deviation = max(0, summary.squares / Double(source.count) - mean * mean).squareRoot()
    // The decoder multiplies in float32.
    let scale = Double(Float(options.alpha.map { $0 * deviation } ?? magnitudes / Double(kept)))
    return try finish(
      source, .ternary, scale: scale, [part], kept: kept, summary, codedSquares: scale * scale * Double(kept),
      crossing: scale * magnitudes)
  }

  // MARK: - Kept values

  /// What values are divided by before they are stored, so that float16 holds them: a power of two not below the
  /// largest; for int8 the step.
  private func unit(_ largest: Float) -> Float {
    if options.values == .i8 { return max(largest / 127, .leastNormalMagnitude) }
    return max(Float(sign: .plus, exponent: largest.exponent, significand: 1) * 2, .leastNormalMagnitude)
  }

  /// Encodes values, and gives back in their place what they decode to.
  private func store(
    _ values: UnsafeMutablePointer<Float>, count: Int, unit: Float, bytes: AlignedBuffer, to part: StoredTensor,
    at element: Int
  ) throws(Problem) {
    let type = part.elementType
    for index in 0..<count { values[index] /= unit }
    type.encode(values, into: bytes.address, count: count)
    type.decode(bytes.address, into: values, count: count)
    for index in 0..<count { values[index] *= unit }
    try scratch.write(
      UnsafeRawBufferPointer(rebasing: bytes.bytes[..<(count * type.byteWidth)]), to: part, at: element * type.byteWidth
    )
  }

  /// Stores the values that a rule keeps, span by span.
  ///
  /// - Parameters:
  ///   - mask: where the rule's choices are stored; nil if they can be made again.
  ///   - choose: gives the mask of a block, and may change its values.
  private func keep(
    _ source: DeltaSource, _ summary: Summary, form: DeltaTensor.Form, count: Int, mask: StoredTensor?, factor: Double,
    choose: (_ block: Int, Range<Int>, UnsafeMutablePointer<Float>, UnsafeMutablePointer<UInt64>) -> Void
  ) throws(Problem) -> EncodedDelta {
    let unit = unit(summary.largest)
    let part = reserve(source, "values", options.values, [count])
    let span = DeltaSource.spanLength
    let words = try AlignedBuffer(count: span / 64, of: UInt64.self)
    let (kept, original) = (
      try AlignedBuffer(count: span, of: Float.self), try AlignedBuffer(count: span, of: Float.self)
    )
    let bytes = try AlignedBuffer(byteCount: 4 * span)
    let (keptFloats, originals) = (kept.floats.baseAddress!, original.floats.baseAddress!)
    var (stored, squares, crossing) = (0, 0.0, 0.0)
    try source.forEachSpan { (range, values) throws(Problem) in
      var found = 0
      for block in CanonicalSum.blocks(of: range.count) {
        let start = range.lowerBound + block.lowerBound
        let bits = words.values(of: UInt64.self).baseAddress! + block.lowerBound / 64
        choose(start / CanonicalSum.blockLength, start..<start + block.count, values + block.lowerBound, bits)
        found += Int(es_gather_kept(values + block.lowerBound, bits, Int64(block.count), keptFloats + found))
      }
      originals.update(from: keptFloats, count: found)
      try store(keptFloats, count: found, unit: unit, bytes: bytes, to: part, at: stored)
      if let mask {
        try scratch.write(
          UnsafeRawBufferPointer(rebasing: words.bytes[..<((range.count + 7) / 8)]), to: mask, at: range.lowerBound / 8)
      }
      squares += es_square_sum(keptFloats, Int64(found))
      crossing += es_dot(keptFloats, originals, Int64(found))
      stored += found
    }
    return try finish(
      source, form, scale: Double(unit) * factor, (mask.map { [$0] } ?? []) + [part], kept: count, summary,
      codedSquares: squares * factor * factor, crossing: crossing * factor)
  }

  private func largest(_ source: DeltaSource, _ summary: Summary) throws(Problem) -> EncodedDelta {
    let count = min(keptCount(source), summary.nonzero)
    let cut = try cut(source, keeping: count)
    let mask = reserve(source, "mask", .u8, [(source.count + 7) / 8])
    return try keep(source, summary, form: .bitmap, count: count, mask: mask, factor: 1) {
      block, range, values, bits in
      cut.apply(to: values, count: range.count, block: block)
      es_pack_mask(values, Int64(range.count), bits)
    }
  }

  private func random(_ source: DeltaSource, _ summary: Summary, divisor: Double) throws(Problem) -> EncodedDelta {
    let random = KeyedRandom(seed: options.seed, name: source.name)
    let density = options.keptShare
    let ones = try AlignedBuffer(count: CanonicalSum.blockLength, of: Float.self)
    let words = try AlignedBuffer(count: CanonicalSum.blockLength / 64, of: UInt64.self)
    func draw(_ range: Range<Int>, _ bits: UnsafeMutablePointer<UInt64>) {
      let ones = ones.floats.baseAddress!
      ones.update(repeating: 1, count: range.count)
      random.keep(ones, startingAt: range.lowerBound, count: range.count, probability: density)
      es_pack_mask(ones, Int64(range.count), bits)
    }
    var count = 0
    for range in CanonicalSum.blocks(of: source.count) {
      let bits = words.values(of: UInt64.self).baseAddress!
      draw(range, bits)
      count += Int(es_count_bits(bits, Int64(range.count)))
    }
    return try keep(
      source, summary, form: .random(seed: options.seed, density: density), count: count, mask: nil,
      factor: 1 / divisor
    ) { _, range, _, bits in draw(range, bits) }
  }

  // MARK: - All values

  private func dense(_ source: DeltaSource, _ summary: Summary) throws(Problem) -> EncodedDelta {
    var wide = self
    if options.values == .i8 || options.values == .bf16 {
      var options = options
      options.values = .f16
      wide = DeltaEncoder(options: options, method: method, scratch: scratch, parallel: parallel)
    }
    return try wide.keep(source, summary, form: .dense, count: source.count, mask: nil, factor: 1) {
      _, range, _, bits in
      for word in 0..<((range.count + 63) / 64) { bits[word] = .max }
    }
  }

  private func rows8(_ source: DeltaSource, _ summary: Summary) throws(Problem) -> EncodedDelta {
    let (rows, columns) = (source.shape[0], source.count / source.shape[0])
    var scales = [Float](repeating: 0, count: rows)
    try source.forEachSpan { range, values in
      for index in 0..<range.count {
        let row = (range.lowerBound + index) / columns
        scales[row] = max(scales[row], abs(values[index]))
      }
    }
    for row in 0..<rows { scales[row] /= 127 }
    let codes = reserve(source, "codes", .i8, source.shape)
    let steps = reserve(source, "scales", .f32, [rows])
    try scratch.write(scales, to: steps)
    let bytes = try AlignedBuffer(byteCount: DeltaSource.spanLength)
    let rounded = try AlignedBuffer(count: DeltaSource.spanLength, of: Float.self)
    let decoded = rounded.floats.baseAddress!
    var (squares, crossing) = (0.0, 0.0)
    try source.forEachSpan { (range, values) throws(Problem) in
      for index in 0..<range.count {
        let step = scales[(range.lowerBound + index) / columns]
        decoded[index] = step > 0 ? values[index] / step : 0
      }
      ElementType.i8.encode(decoded, into: bytes.address, count: range.count)
      ElementType.i8.decode(bytes.address, into: decoded, count: range.count)
      for index in 0..<range.count { decoded[index] *= scales[(range.lowerBound + index) / columns] }
      try scratch.write(UnsafeRawBufferPointer(rebasing: bytes.bytes[..<range.count]), to: codes, at: range.lowerBound)
      squares += es_square_sum(decoded, Int64(range.count))
      crossing += es_dot(decoded, values, Int64(range.count))
    }
    return try finish(
      source, .rows8, scale: 1, [codes, steps], kept: source.count, summary, codedSquares: squares, crossing: crossing)
  }

  private func lowRank(_ source: DeltaSource, _ summary: Summary) throws(Problem) -> EncodedDelta {
    var wanted = AdapterExtractionOptions(output: "")
    (wanted.rank, wanted.energy) = (options.rank, options.energy)
    wanted.elementType = options.values == .i8 ? .f16 : options.values
    let delta = try source.matrix()
    let factors = try AdapterFactors(of: delta, name: source.name, options: wanted, parallel: parallel)
    let rank = factors.a.rows
    let b = reserve(source, "B", wanted.elementType, [delta.rows, rank])
    let a = reserve(source, "A", wanted.elementType, [rank, delta.columns])
    // Bytes of A come first.
    try scratch.write(Array(factors.bytes[..<a.byteCount]), to: a)
    try scratch.write(Array(factors.bytes[a.byteCount...]), to: b)
    // B A is a projection of the change up to the rounding of its factors, so d . v is ‖v‖².
    let error = factors.certificate.error
    let kept = summary.squares * max(0, 1 - error * error)
    return try finish(
      source, .lowRank, scale: 1, [b, a], kept: rank * (delta.rows + delta.columns), summary, codedSquares: kept,
      crossing: kept)
  }
}
