internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics

/// Pixels put together, channel by channel. For a gradient: where the largest were found.
///
/// `y = pool(x, f: 'max', size: k, stride: s, padding: p)`: the largest in each window of a picture.
/// `y = pool(x, f: 'mean')`: the mean of all rows of a sequence, which becomes one row; a picture, one pixel.
struct PoolOperation: Operation {
  static let name = "pool"
  private let window: SlidingWindow?

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    switch try binding.statement.text("f") {
    case "max":
      let size = try binding.statement.integer("size")
      let window = try SlidingWindow(binding, height: size, width: size)
      guard 2 * window.padding <= size else { throw binding.problem("has windows that see nothing") }
      self.window = window
    case "mean":
      window = nil
      // A picture becomes a picture of one pixel.
      if binding.inputRows[0] != .pictures { binding.outputRows = .sequences(binding.inputRows[0]) }
    case let name: throw binding.problem("does not know `\(name)`")
    }
    binding.outputWidths = binding.inputWidths
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    if let window { [try largest(inputs[0], window, run)] } else { [try mean(inputs[0], run)] }
  }

  private func largest(_ x: Activation, _ window: SlidingWindow, _ run: OperationRun) throws(Problem) -> Activation {
    let (grid, result) = try window.grids(of: x)
    let area = result.height * result.width
    let y = try run.activation(
      width: x.width, segments: Segments(lengths: Array(repeating: area, count: x.segments.count), grid: result))
    var shape = window.shape(of: grid, channels: x.width, columns: result.width)
    for picture in 0..<x.segments.count {
      let pixels = x.floats + x.segments.starts[picture] * x.width
      try run.forEachSpan(rows: area, width: x.width * window.height * window.width) { rows in
        es_max_pool(
          &shape, pixels, Int64(rows.lowerBound), Int64(rows.upperBound),
          y.floats + (picture * area + rows.lowerBound) * x.width)
      }
    }
    return y
  }

  private func mean(_ x: Activation, _ run: OperationRun) throws(Problem) -> Activation {
    let segments = x.segments
    let y = try run.activation(
      width: x.width, segments: .pooled(segments.count, grid: segments.grid == nil ? nil : (1, 1)))
    try run.pool.forEach(segments.count) { sequence in
      let rows = segments.rows(of: sequence)
      es_mean_of_rows(
        x.floats + rows.lowerBound * x.width, y.floats + sequence * x.width, Int64(rows.count), Int64(x.width))
    }
    return y
  }
}
