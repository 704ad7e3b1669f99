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
  let statistics: SiteStatistics

  private static let shares: [Float] = (0..<10).map { 1 - Float($0) / 20 }

  /// The weight, clamped.
  func best(_ parallel: MatrixProduct.ParallelLoop) throws(Problem) -> Matrix<Float> {
    let (rows, columns) = (weight.rows, weight.columns)
    let length = grid.groupLength(of: columns)
    let groups = grid.groupCount(of: columns)
    var limits = [Float](repeating: 0, count: rows * groups)
    for row in 0..<rows {
      for column in 0..<columns {
        let place = row * groups + column / length
        limits[place] = max(limits[place], weight[row, column].magnitude)
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

  /// d M dᵀ of each row and group, d in the units of the weight before it was scaled.
  private func errors(
    of changed: Matrix<Float>, _ groups: Int, _ length: Int, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [Double] {
    let (rows, columns) = (weight.rows, weight.columns)
    var errors = [Double](repeating: 0, count: rows * groups)
    try errors.withUnsafeMutableBufferPointer { (errors) throws(Problem) in
      // Every index writes the places of its group.
      try parallel(groups) { (group) throws(Problem) in
        let start = group * length
        let width = min(length, columns - start)
        let room = Room<Double>(2 * rows * width)
        let (difference, product) = (room.values, room.values + rows * width)
        for row in 0..<rows {
          for j in 0..<width {
            let d = Double(weight[row, start + j]) - Double(changed[row, start + j])
            difference[row * width + j] = d / Double(inputScales[start + j])
          }
        }
        guard case .full(let moment)? = statistics.moment else {
          for row in 0..<rows {
            for j in 0..<width {
              let d = difference[row * width + j]
              errors[row * groups + group] += d * d * statistics.squareSums[start + j]
            }
          }
          return
        }
        try moment.elements.withUnsafeBufferPointer { (moment) throws(Problem) in
          guard let base = moment.baseAddress else { return }
          try MatrixProduct.multiply(
            UpperTriangle.view(difference, rows: rows, columns: width, stride: width),
            UpperTriangle.view(base + start * columns + start, rows: width, columns: width, stride: columns).transposed,
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
