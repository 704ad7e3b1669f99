internal import CKernels
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNumerics

/// The changes of several models in one parameter, decomposed as ``ModelBasis`` says.
struct BasisDecomposition: Sendable {
  var tensor: BasisFile.Tensor
  var report: BasisReport.Part

  /// What it takes: the changes, a sum of them, its bytes, and what is left of each.
  static func memoryBytes(_ target: ModelChanges.Target) -> Int {
    target.sourceBytes + (8 + 4 * target.models.count) * min(DeltaSource.spanLength, target.elementCount)
  }

  /// - Returns: nil if nothing changed.
  init?(
    of sources: [DeltaSource], rank: Int, elementType type: ElementType, scratch: TensorScratch
  ) throws(Problem) {
    let k = sources.count
    func forEachSpan(_ body: (Range<Int>, [UnsafeMutablePointer<Float>]) throws(Problem) -> Void) throws(Problem) {
      for span in DeltaSource.spans(of: sources[0].count) {
        var values: [UnsafeMutablePointer<Float>] = []
        for source in sources { values.append(try source.values(in: span)) }
        try body(span, values)
      }
    }
    var gram = [Double](repeating: 0, count: k * k)
    try forEachSpan { (span, deltas) throws(Problem) in
      for block in CanonicalSum.blocks(of: span.count) {
        for i in 0..<k {
          for j in 0...i {
            gram[i * k + j] += es_dot(deltas[i] + block.lowerBound, deltas[j] + block.lowerBound, Int64(block.count))
          }
        }
      }
    }
    for i in 0..<k { for j in 0..<i { gram[j * k + i] = gram[i * k + j] } }
    guard gram.allSatisfy(\.isFinite) else {
      throw Problem(.nonFiniteMatrix, "a change is not finite", remedy: "One of the models holds NaN or infinity.")
    }
    let norms = (0..<k).map { gram[$0 * k + $0] }
    guard norms.contains(where: { $0 > 0 }) else { return nil }
    let eigen = try LinearAlgebra.symmetricEigen(try Matrix(rows: k, columns: k, elements: gram))
    // The largest first; vectors are rows.
    let values = eigen.values.reversed().map { max(0, $0) }
    let vectors = (0..<k).map { j in (0..<k).map { eigen.vectors.elements[(k - 1 - j) * k + $0] } }
    let count = min(rank, values.count { $0 > 1e-15 * values[0] })

    let span = min(DeltaSource.spanLength, sources[0].count)
    let sum = try AlignedBuffer(count: span, of: Float.self)
    let basis = sum.floats.baseAddress!
    func combine(_ j: Int, _ deltas: [UnsafeMutablePointer<Float>], _ length: Int) {
      basis.update(repeating: 0, count: length)
      for i in 0..<k { es_add_scaled(deltas[i], Float(vectors[j][i]), basis, Int64(length)) }
    }
    var largest = [Float](repeating: 0, count: count)
    try forEachSpan { range, deltas in
      for j in 0..<count {
        combine(j, deltas, range.count)
        for index in 0..<range.count { largest[j] = max(largest[j], abs(basis[index])) }
      }
    }
    // Powers of two, so that scaling is exact.
    let scales = largest.map { $0 > 0 ? Float(sign: .plus, exponent: $0.exponent + 1, significand: 1) : 1 }
    let parts = (0..<count).map { scratch.reserve("\(sources[0].name).basis.\($0)", type, sources[0].shape) }
    let (bytes, rest) = (try AlignedBuffer(byteCount: 4 * span), try AlignedBuffer(count: k * span, of: Float.self))
    var errors = [Double](repeating: 0, count: k)
    try forEachSpan { (range, deltas) throws(Problem) in
      let left = (0..<k).map { rest.floats.baseAddress! + $0 * span }
      for i in 0..<k { left[i].update(from: deltas[i], count: range.count) }
      for j in 0..<count {
        combine(j, deltas, range.count)
        for index in 0..<range.count { basis[index] /= scales[j] }
        type.encode(basis, into: bytes.address, count: range.count)
        type.decode(bytes.address, into: basis, count: range.count)
        try scratch.write(
          UnsafeRawBufferPointer(rebasing: bytes.bytes[..<(range.count * type.byteWidth)]), to: parts[j],
          at: range.lowerBound * type.byteWidth)
        for i in 0..<k {
          es_add_scaled(basis, -Float(vectors[j][i] * Double(scales[j])), left[i], Int64(range.count))
        }
      }
      for i in 0..<k { errors[i] += es_square_sum(left[i], Int64(range.count)) }
    }
    var digests: [Digest] = []
    for part in parts { digests.append(try scratch.measure(part).digest) }
    tensor = BasisFile.Tensor(
      name: sources[0].name, shape: sources[0].shape, scales: scales.map { Double($0) },
      coefficients: (0..<k).map { i in (0..<count).map { vectors[$0][i] } }, parts: parts, digests: digests)
    let tails = (1...k).map { rank in
      (0..<k).map { i in (rank..<k).reduce(0) { $0 + values[$1] * vectors[$1][i] * vectors[$1][i] } }
    }
    report = .init(
      name: sources[0].name, elements: sources[0].count, squaredNorms: norms, squaredErrors: errors,
      squaredErrorsByRank: tails)
  }
}

extension BasisDecomposition: CodedChange {
  var parts: [StoredTensor] { tensor.parts }
  var digests: [Digest] { tensor.digests }
  var record: JSON { ["entry": tensor.entry, "report": report.json] }

  init(_ name: String, _ record: JSON, parts: [ExactString: StoredTensor]) throws(Problem) {
    var parts = parts
    guard let entry = record["entry"], let report = BasisReport.Part(name, record["report"]) else {
      throw Problem(.journalDamaged, "the note of a decomposition is not whole", tensor: name)
    }
    (tensor, self.report) = (try BasisFile.Tensor(name, entry, taking: &parts), report)
  }
}
