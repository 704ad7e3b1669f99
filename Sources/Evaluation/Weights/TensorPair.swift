internal import CKernels
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// A parameter of two models, of one shape, and maybe of the base of both: compared in two passes, since what is
/// nearly zero is known only after the largest change.
struct TensorPair: Sendable {
  var place: TensorPlace
  var a: Parameter
  var b: Parameter
  var base: Parameter?

  /// Bytes read from the files, for progress and for the order of work.
  func movedBytes(spectra: Bool) -> Int {
    let width = a.elementType.byteWidth + b.elementType.byteWidth
    let passes = spectra && hasSpectrum ? 3 : 2
    return a.elementCount * (passes * width + (base?.elementType.byteWidth ?? 0))
  }

  private var hasSpectrum: Bool {
    MeasurementContext.hasSpectrum(a) && MeasurementContext.hasSpectrum(b)
  }

  func difference(_ context: MeasurementContext) throws(Problem) -> ModelDifference.Tensor {
    do throws(Problem) {
      let (changed, conflict) = try firstPass(context)
      var change = changed
      let scan = try context.scan([a, b])
      change.nearZeroCount = try nearZeroCount(scan, change)
      var spectrum: Result<Spectrum, Problem>?
      if context.wantsSpectra && hasSpectrum {
        spectrum = try context.spectrum(of: scan, shape: a.shape, name: a.name) { block in
          block.subtract(block.rows[0], from: block.rows[1])
          return UnsafePointer(block.spare)
        }
      }
      return ModelDifference.Tensor(
        name: a.name, place: place, shape: a.shape, elementTypeA: a.elementType, elementTypeB: b.elementType,
        change: change, conflict: conflict, spectrum: spectrum)
    } catch { throw error.at(tensor: a.name) }
  }

  private struct Counts: Tally {
    var delta = ValueCensus()
    var cleared = 0
    var both = 0
    var opposed = 0

    mutating func add(_ other: Counts) {
      delta.add(other.delta)
      cleared += other.cleared
      both += other.both
      opposed += other.opposed
    }
  }

  /// Everything but what is nearly zero.
  private func firstPass(_ context: MeasurementContext) throws(Problem) -> (Change, UpdateConflict?) {
    let scan = try context.scan([a, b] + (base.map { [$0] } ?? []))
    let (sums, counts) = try scan.gather(sums: 7) { (block, sums, counts: inout Counts) in
      let (a, b, n) = (block.rows[0], block.rows[1], Int64(block.count))
      counts.cleared += block.clearNonFinite()
      sums[0] = es_square_sum(a, n)
      sums[1] = es_square_sum(b, n)
      sums[2] = es_dot(a, b, n)
      block.subtract(a, from: b)
      sums[3] = es_square_sum(block.spare, n)
      counts.delta.add(ValueCensus(block.spare, count: block.count))
      guard block.rows.count == 3 else { return }
      es_subtract(a, block.rows[2], n)
      es_subtract(b, block.rows[2], n)
      sums[4] = es_square_sum(a, n)
      sums[5] = es_square_sum(b, n)
      sums[6] = es_dot(a, b, n)
      var (both, opposed) = (Int64(0), Int64(0))
      es_count_opposed(a, b, n, &both, &opposed)
      counts.both += Int(both)
      counts.opposed += Int(opposed)
    }
    var change = Change()
    change.elementCount = scan.elementCount
    change.nonFiniteCount = counts.cleared
    change.changedCount = scan.elementCount - counts.delta.zeroCount
    change.largest = counts.delta.largestMagnitude
    (change.squaredNormA, change.squaredNormB, change.dot, change.squaredNorm) = (sums[0], sums[1], sums[2], sums[3])
    guard base != nil else { return (change, nil) }
    var conflict = UpdateConflict()
    conflict.elementCount = scan.elementCount
    (conflict.bothCount, conflict.opposedCount) = (counts.both, counts.opposed)
    (conflict.squaredNormA, conflict.squaredNormB, conflict.dot) = (sums[4], sums[5], sums[6])
    return (change, conflict)
  }

  private struct Count: Tally {
    var value = 0
    mutating func add(_ other: Count) { value += other.value }
  }

  private func nearZeroCount(_ scan: ParameterScan, _ change: Change) throws(Problem) -> Int {
    guard change.changedCount > 0 else {
      scan.skip()
      return change.elementCount
    }
    // Where the product vanishes, no change does.
    let threshold = max(Change.nearZero * change.largest, .leastNonzeroMagnitude)
    return try scan.gather { (block, _, near: inout Count) in
      _ = block.clearNonFinite()
      block.subtract(block.rows[0], from: block.rows[1])
      near.value += Int(es_count_below(block.spare, Int64(block.count), threshold))
    }.tally.value
  }
}
