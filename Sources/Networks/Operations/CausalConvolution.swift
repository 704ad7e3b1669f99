internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierNumerics

/// A convolution of each channel along its sequence, over the last K tokens:
///
///     y[t, c] = b[c] + sum over k of w[c, k] x[t - K + 1 + k, c]
///
/// For a gradient: x. `y = convolution1d(x, @module)`, weight `[channels, 1, K]`. The state of a sequence is its last
/// K - 1 rows of x, zeros before its beginning.
struct CausalConvolutionOperation: SequenceOperation {
  static let name = "convolution1d"
  private let weight: VectorHandle
  private let bias: VectorHandle?
  private let width: Int
  private let kernel: Int
  private let state: Int
  var isCausal: Bool { true }

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    width = binding.inputWidths[0]
    guard let shape = binding.shape("weight"), shape.count == 3, shape[0] == width, shape[1] == 1, shape[2] > 0 else {
      throw binding.problem("gets rows of \(width) and a weight of the shape \(binding.shape("weight") ?? [])")
    }
    kernel = shape[2]
    weight = try binding.vector(count: width * kernel)
    bias = try binding.optionalVector("bias", count: width)
    state = binding.state()
    binding.outputWidths = [width]
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let x = inputs[0]
    let y = try run.activation(width: width, segments: x.segments)
    let taps = try run.workspace.take(width * kernel)
    let (stored, bias) = (run.vector(weight), run.vector(bias))
    for channel in 0..<width {
      for k in 0..<kernel { taps.floats[k * width + channel] = stored[channel * kernel + k] }
    }
    try run.forEachWalk(x.segments, lanes: width, together: 64, state: state, floats: (kernel - 1) * width) {
      rows, channels, before in
      es_causal_convolution(
        x.floats + rows.lowerBound * width, taps.floats.baseAddress!, bias, before, y.floats + rows.lowerBound * width,
        Int64(rows.count), Int64(width), Int64(kernel), Int64(channels.lowerBound), Int64(channels.upperBound))
    }
    run.workspace.giveBack(taps)
    return [y]
  }
}

extension OperationRun {
  /// Walks along every sequence in groups of independent lanes (channels, heads), several at once.
  ///
  /// - Parameters:
  ///   - state: the state's place in a sequence's; zeros where sequences begin or keep none.
  ///   - floats: the size of the state of all lanes together.
  ///   - body: gets the rows of a sequence, the lanes, and the state of all lanes, of which it may touch its own.
  func forEachWalk(
    _ segments: Segments, lanes: Int, together: Int, state: Int, floats: Int,
    _ body: (_ rows: Range<Int>, _ lanes: Range<Int>, _ state: UnsafeMutablePointer<Float>) -> Void
  ) throws(Problem) {
    var kept: [AlignedBuffer] = []
    for sequence in 0..<segments.count {
      if let states {
        kept.append(try states[sequence].values(state, count: floats))
      } else {
        let buffer = try workspace.take(floats)
        buffer.floats[..<floats].update(repeating: 0)
        kept.append(buffer)
      }
    }
    let groups = (lanes + together - 1) / together
    try pool.forEach(segments.count * groups) { index in
      let (sequence, group) = index.quotientAndRemainder(dividingBy: groups)
      body(
        segments.rows(of: sequence), group * together..<min(lanes, (group + 1) * together),
        kept[sequence].floats.baseAddress!)
    }
    if states == nil { for buffer in kept { workspace.giveBack(buffer) } }
  }
}
