internal import CKernels
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNumerics

/// How far the weights of each group of a row are clamped before they are rounded: to 1, 19/20 ... 11/20 of their largest
/// magnitude, by the least d M dᵀ of the group's own errors d, M the second moment of its inputs. As in the code of
/// `lin2024awq`, where M is that of the sampled rows.
struct WeightClipping {
  /// W diag(s) `[outputs, inputs]`.
  let weight: Matrix<Float>
  let grid: IntegerGrid
  let inputScales: [Float]
  /// What square errors of each column of W diag(s) count.
  let importance: [Double]?
  let statistics: SiteStatistics

  private static let shares: [Float] = (0..<10).map { 1 - Float($0) / 20 }

  /// The weight, clamped.
  func best(_ parallel: MatrixProduct.ParallelLoop) throws(Problem) -> Matrix<Float> {
    let (rows, columns) = (weight.rows, weight.columns)
    let length = grid.groupLength(of: columns)
    let groups = grid.groupCount(of: columns)
    var limits = [Float](repeating: 0, count: rows * groups)
    weight.elements.withUnsafeBufferPointer { elements in
      guard let base = elements.baseAddress else { return }
      for place in limits.indices {
        let start = place % groups * length
        var (low, high): (Float, Float) = (0, 0)
        es_grid_extremes_of(
          base + place / groups * columns + start, Int64(min(length, columns - start)), &low, &high)
        limits[place] = max(high, -low)
      }
    }
    var least = [Double](repeating: .infinity, count: limits.count)
    var chosen = [Float](repeating: 1, count: limits.count)
    for share in Self.shares {
      let clamped = clamped(limits.map { $0 * share }, length)
      let changed = try grid.rounded(
        clamped,
        importance: Quantization.importance(statistics)?.enumerated().map {
          $1 / (Double(inputScales[$0]) * Double(inputScales[$0]))
        }, parallel: parallel
      ).materialized()
      let errors = try errors(of: changed, groups, length, parallel)
      for place in least.indices where errors[place] < least[place] {
        (least[place], chosen[place]) = (errors[place], share)
      }
    }
    return clamped(zip(limits, chosen).map { $0 * $1 }, length)
  }

  private func clamped(_ limits: [Float], _ length: Int) -> Matrix<Float> {
    var result = weight
    let (columns, groups) = (weight.columns, grid.groupCount(of: weight.columns))
    result.elements.withUnsafeMutableBufferPointer { elements in
      guard let base = elements.baseAddress else { return }
      for row in 0..<weight.rows {
        for group in 0..<groups {
          let place = base + row * columns + group * length
          es_grid_clamp(place, Int64(min(length, columns - group * length)), limits[row * groups + group], place)
        }
      }
    }
    return result
  }

  /// d M dᵀ of each row and group, M that of the inputs divided by their scales.
  private func errors(
    of changed: Matrix<Float>, _ groups: Int, _ length: Int, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [Double] {
    let (rows, columns) = (weight.rows, weight.columns)
    let divisors = inputScales.map(Double.init)
    var errors = [Double](repeating: 0, count: rows * groups)
    try errors.withUnsafeMutableBufferPointer { (errors) throws(Problem) in
      // Every index writes the places of its group.
      try parallel(groups) { (group) throws(Problem) in
        let part = group * length..<min(columns, (group + 1) * length)
        let width = part.count
        let room = Room<Double>(2 * rows * width)
        let (difference, product) = (room.values, room.values + rows * width)
        weight.elements.withUnsafeBufferPointer { original in
          changed.elements.withUnsafeBufferPointer { changed in
            guard let a = original.baseAddress, let b = changed.baseAddress else { return }
            for row in 0..<rows {
              let place = row * columns + part.lowerBound
              es_prune_difference(a + place, b + place, Int64(width), difference + row * width)
            }
          }
        }
        let scaled: [Double]
        if case .full(let moment)? = statistics.moment {
          scaled = part.flatMap { i in part.map { moment[i, $0] / (divisors[i] * divisors[$0]) } }
        } else {
          scaled = part.flatMap { i in
            part.map { $0 == i ? statistics.squareSums[i] / (divisors[i] * divisors[i]) : 0 }
          }
        }
        try scaled.withUnsafeBufferPointer { (scaled) throws(Problem) in
          guard let base = scaled.baseAddress else { return }
          try MatrixProduct.multiply(
            UpperTriangle.view(difference, rows: rows, columns: width, stride: width),
            UpperTriangle.view(base, rows: width, columns: width, stride: width).transposed,
            into: UpperTriangle.mutableView(product, rows: rows, columns: width, stride: width))
        }
        for row in 0..<rows {
          errors[row * groups + group] = es_prune_dot(difference + row * width, product + row * width, Int64(width))
        }
      }
    }
    return errors
  }
}
