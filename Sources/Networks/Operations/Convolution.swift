internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNumerics

/// A convolution over pictures: a map applied to what a sliding window sees. For a gradient: x.
///
/// `y = convolution2d(x, @module, stride: s, padding: p)`, weight `[out, in, height, width]`. Settings: `pictureHeight`,
/// `pictureWidth`: the only size of pictures it takes.
struct ConvolutionOperation: Operation {
  static let name = "convolution2d"
  static var takesAnyWidth: Bool { true }
  private let weight: MatrixHandle
  private let bias: VectorHandle?
  private let channels: Int
  private let outputs: Int
  private let window: SlidingWindow
  private let size: (height: Int, width: Int)?

  /// Floats of unfolded windows at a time.
  private static let unfolded = 1 << 20

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    let statement = binding.statement
    guard let shape = binding.shape("weight"), shape.count == 4, shape.allSatisfy({ $0 > 0 }) else {
      throw binding.problem("needs a weight of four dimensions")
    }
    (outputs, channels) = (shape[0], shape[1])
    // The width of pictures as they are given is known when they come.
    guard [0, channels].contains(binding.inputWidths[0]) else {
      throw binding.problem("takes \(channels) channels and gets \(binding.inputWidths[0])")
    }
    window = try SlidingWindow(binding, height: shape[2], width: shape[3])
    size =
      statement.has("pictureHeight")
      ? (try statement.integer("pictureHeight"), try statement.integer("pictureWidth")) : nil
    weight = try binding.matrix(outputs: outputs, inputs: shape.dropFirst().reduce(1, *))
    bias = try binding.optionalVector("bias", count: outputs)
    binding.outputWidths = [outputs]
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let x = inputs[0]
    let (grid, result) = try window.grids(of: x)
    if let size, size != grid {
      throw Problem(
        .networkInput,
        "the pictures are \(grid.height) by \(grid.width), and the network takes \(size.height) by \(size.width)")
    }
    guard x.width == channels else {
      throw Problem(.networkInput, "the pictures have \(x.width) channels, and the network takes \(channels)")
    }
    let area = result.height * result.width
    let y = try run.activation(
      width: outputs, segments: Segments(lengths: Array(repeating: area, count: x.segments.count), grid: result))
    let (map, bias) = (run.matrix(weight), run.vector(bias))
    let seen = channels * window.height * window.width
    let tile = max(1, min(area, ConvolutionOperation.unfolded / seen))
    let columns = try run.workspace.take(tile * seen)
    var shape = window.shape(of: grid, channels: channels, columns: result.width)
    for picture in 0..<x.segments.count {
      let pixels = x.floats + x.segments.starts[picture] * channels
      for first in stride(from: 0, to: area, by: tile) {
        let count = min(tile, area - first)
        try run.forEachSpan(rows: count, width: seen) { rows in
          es_unfold(
            &shape, pixels, Int64(first + rows.lowerBound), Int64(first + rows.upperBound),
            columns.floats.baseAddress! + rows.lowerBound * seen)
        }
        let to = UnsafeMutableBufferPointer(
          start: y.floats + (picture * area + first) * outputs, count: count * outputs)
        try map.apply(
          MatrixView(
            UnsafeBufferPointer(start: columns.floats.baseAddress!, count: count * seen), rows: count, columns: seen),
          into: MutableMatrixView(to, rows: count, columns: outputs), mode: run.mode, parallel: run.parallel)
      }
    }
    run.workspace.giveBack(columns)
    if let bias {
      try run.forEachSpan(rows: y.rows, width: outputs) { rows in
        let start = y.floats + rows.lowerBound * outputs
        es_add_to_rows(start, bias, start, Int64(rows.count), Int64(outputs))
      }
    }
    return [y]
  }
}

/// A window that slides over pictures.
struct SlidingWindow: Sendable {
  let height: Int
  let width: Int
  let stride: Int
  let padding: Int

  init(_ binding: Binding, height: Int, width: Int) throws(Problem) {
    (self.height, self.width) = (height, width)
    stride = binding.statement.has("stride") ? try binding.statement.integer("stride") : 1
    padding = binding.statement.has("padding") ? try binding.statement.integer("padding") : 0
    guard height > 0, width > 0, stride > 0, padding >= 0 else {
      throw binding.problem("cannot slide \(height) by \(width) in steps of \(stride) with a border of \(padding)")
    }
    guard padding < max(height, width), height <= 1 << 20, width <= 1 << 20 else {
      throw binding.problem("has windows that see nothing")
    }
    guard binding.inputRows == [.pictures] else { throw binding.problem("slides over rows that are no picture") }
  }

  /// The grid of pictures, and of the windows on them.
  ///
  /// - Throws: `network.input` if not one window fits.
  func grids(
    of x: Activation
  ) throws(Problem) -> (pictures: (height: Int, width: Int), windows: (height: Int, width: Int)) {
    guard let grid = x.segments.grid else { throw Problem(.networkProgram, "a window slides over what is no picture") }
    let (down, right) = (grid.height + 2 * padding - height, grid.width + 2 * padding - width)
    guard down >= 0, right >= 0 else {
      throw Problem(
        .networkInput, "pictures of \(grid.height) by \(grid.width) are smaller than a window of \(height) by \(width)")
    }
    let windows = (height: down / stride + 1, width: right / stride + 1)
    guard windows.height * windows.width <= Int(Int32.max) else {
      throw Problem(.networkInput, "pictures of \(grid.height) by \(grid.width) are too large")
    }
    return (grid, windows)
  }

  func shape(of grid: (height: Int, width: Int), channels: Int, columns: Int) -> es_window {
    es_window(
      height: Int64(grid.height), width: Int64(grid.width), channels: Int64(channels), kernel_height: Int64(height),
      kernel_width: Int64(width), stride: Int64(stride), padding: Int64(padding), columns: Int64(columns))
  }
}
