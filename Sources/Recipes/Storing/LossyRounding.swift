internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierCoding
internal import EspalierNumerics
internal import EspalierReduction

/// Measures and rounds one tensor of a file.
struct LossyRounding {
  let tensor: LossyTensor
  let lattice: LatticeRounding
  private let statistics: SiteStatistics?
  private let workers: WorkerPool

  /// Numbers on which settings are tried.
  private static let sampled = 1 << 17
  /// Of steps over the root of the mean square, to base 2. With steps as large as that, numbers from a normal distribution
  /// take 2.05 bits, and one more for each octave less; finer than 2^-9 nothing is gained over numbers as they are stored.
  private static let levels = -9.0...4.0
  private static let bitsAtZero = 2.05
  /// Tensors are given so many bits more than all on average, at the most.
  private static let range = 2.5

  /// The finer the steps, the less a dead zone is worth.
  private static func offsets(at level: Double) -> [Float] {
    level < -2 ? [0.5, 0.44] : level < 0 ? [0.5, 0.42, 0.36] : [0.42, 0.36, 0.3]
  }

  init(
    _ tensor: LossyTensor, _ options: LossyOptions, statistics: SiteStatistics?, workers: WorkerPool
  ) throws(Problem) {
    (self.tensor, self.statistics, self.workers) = (tensor, statistics, workers)
    do throws(Problem) {
      lattice = try LatticeRounding(
        columns: tensor.columns, statistics: statistics, handsOn: options.handsOn, parallel: workers.forEach)
    } catch { throw error.at(tensor: tensor.name) }
  }

  /// Bytes resident while a tensor is rounded: its factor, the moment, and what each thread works on.
  static func workingBytes(_ tensors: [LossyTensor], threads: Int) -> Int {
    tensors.reduce(0) { most, tensor in
      let factor = tensor.site == nil ? 0 : 36 * tensor.columns * tensor.columns
      let tile = min(tensor.tile, tensor.rows) * tensor.columns
      return max(most, factor + threads * (24 * tile + 16 * min(sampled, tensor.elementCount)))
    }
  }

  // MARK: - Settings

  /// What the tensor takes and loses by settings, tried on rows spread over it. Costs are relative: 1 is all that the
  /// tensor does, times `weight`.
  ///
  /// - Parameter bits: that numbers shall take on average.
  func curve(in file: any ByteSource, weight: Double, bits: Double) throws(Problem) -> LossyCurve {
    let count = max(1, min(tensor.rows, Self.sampled / tensor.columns))
    var sample: [Float] = []
    for index in 0..<count {
      let row = index * tensor.rows / count
      sample += try tensor.read(row..<row + 1, from: file)
    }
    let weights = sample
    let scale = weights.withUnsafeBufferPointer { lattice.scaledMean($0) }
    let whole = try energy(weights, rows: count)
    guard scale > 0, whole > 0 else {
      return LossyCurve([LossyCurve.Setting(logarithm: 0, offset: 0.5, bytes: 0, cost: 0)])
    }
    let share = Double(tensor.elementCount) / Double(weights.count)
    let finest = (2 * (Self.bitsAtZero - bits - Self.range)).rounded(.down) / 2
    let tried = stride(
      from: max(Self.levels.lowerBound, min(finest, -1)), through: Self.levels.upperBound, by: 0.5
    ).flatMap { level in Self.offsets(at: level).map { (level + LossyCurve.logarithm(scale), $0) } }
    let settings = try workers.map(tried.count) { (index) throws(Problem) -> LossyCurve.Setting in
      let (level, offset) = tried[index]
      var integers = [Int32](repeating: 0, count: weights.count)
      let (bits, cost) = integers.withUnsafeMutableBufferPointer { integers in
        let cost = weights.withUnsafeBufferPointer {
          lattice.preview($0, step: Float(LossyCurve.power(level)), offset: offset, into: integers)
        }
        return (LatticeSize.bits(of: UnsafeBufferPointer(integers), width: tensor.columns), cost)
      }
      return LossyCurve.Setting(
        logarithm: level, offset: Double(offset), bytes: bits / 8 * share, cost: weight * cost / whole)
    }
    return LossyCurve(settings)
  }

  /// trace(W H Wᵀ), in the units of ``LatticeRounding/preview(_:step:offset:into:)``.
  private func energy(_ weights: [Float], rows: Int) throws(Problem) -> Double {
    let matrix = try Matrix(rows: rows, columns: tensor.columns, elements: weights)
    let known = statistics.map { $0.count > 0 } ?? false
    let energy = try OutputError.energy(
      of: matrix, statistics: known ? statistics : nil, parallel: workers.forEach)
    return known ? energy * 2 / Double(statistics?.count ?? 1) : energy
  }

  // MARK: - Rounding

  /// Rounds the tensor from one file to another.
  func round(_ setting: LossyCurve.Setting, from source: any ByteSource, to target: File) throws(Problem) {
    let step = Float(LossyCurve.power(setting.logarithm))
    try workers.forEach(tensor.tiles) { (index) throws(Problem) in
      let rows = tensor.rows(ofTile: index)
      var values = try tensor.read(rows, from: source)
      var integers = [Int32](repeating: 0, count: values.count)
      var failure: Problem?
      values.withUnsafeMutableBufferPointer { values in
        integers.withUnsafeMutableBufferPointer { integers in
          guard let values = values.baseAddress, let integers = integers.baseAddress else { return }
          do throws(Problem) {
            try lattice.round(
              values, rows: rows.count, step: step, offset: Float(setting.offset), into: integers)
            lattice.values(of: integers, rows: rows.count, step: step, into: values)
          } catch { failure = error }
        }
      }
      if let failure { throw failure.at(tensor: tensor.name) }
      try tensor.write(values, of: rows, to: target)
    }
  }

  /// Steps of columns at a setting.
  func steps(_ setting: LossyCurve.Setting) -> [Float] {
    lattice.steps(Float(LossyCurve.power(setting.logarithm)))
  }

  // MARK: - What was lost

  /// Compares the tensor in two files.
  func loss(of changed: any ByteSource, from original: any ByteSource) throws(Problem) -> ArchiveLoss.Part {
    let known = statistics.map { $0.count > 0 } ?? false
    let sums = try workers.map(tensor.tiles) {
      (index) throws(Problem) -> (
        weight: (error: Double, whole: Double), output: (error: Double, whole: Double)
      ) in
      let rows = tensor.rows(ofTile: index)
      func matrix(_ file: any ByteSource) throws(Problem) -> Matrix<Float> {
        try Matrix(rows: rows.count, columns: tensor.columns, elements: try tensor.read(rows, from: file))
      }
      let (before, after) = (try matrix(original), try matrix(changed))
      return (
        try OutputError.squares(of: after, original: before, statistics: nil),
        known ? try OutputError.squares(of: after, original: before, statistics: statistics) : (0, 0)
      )
    }
    func relative(_ error: Double, _ whole: Double) -> Double {
      guard whole > 0 else { return 0 }
      // As many digits as are worth their place in the header.
      return ((max(0, error) / whole).squareRoot() * 1e6).rounded() / 1e6
    }
    return ArchiveLoss.Part(
      part: tensor.part,
      weightError: relative(
        CanonicalSum.combine(sums.map(\.weight.error)), CanonicalSum.combine(sums.map(\.weight.whole))),
      outputError: known
        ? relative(CanonicalSum.combine(sums.map(\.output.error)), CanonicalSum.combine(sums.map(\.output.whole)))
        : nil)
  }
}
