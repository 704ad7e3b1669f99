internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics

/// The scan of Mamba 2 (Dao and Gu 2024): every head has one decay and one step, groups of heads share B and C.
///
///     d = clamp(softplus(step + bias)),  h[t] = e^(d A) h[t-1] + d B[t] u[t],  y[t] = C[t] . h[t] + D u[t]
///
/// For a gradient: all inputs, and h every few tokens.
/// `y = stateSpaceScan(u, step, B, C, step: @dt_bias, decay: @A_log, skip: @D, groups: g)`; the width of `step` is the
/// number of heads. `time_step_limit` of the config bounds d. The state of a sequence is h. Token by token, so that
/// cutting a sequence into calls changes nothing; the chunked form would.
struct StateSpaceScanOperation: SequenceOperation {
  static let name = "stateSpaceScan"
  private let bias: VectorHandle
  private let decay: VectorHandle
  private let skip: VectorHandle
  private let heads: Int
  private let headWidth: Int
  private let groups: Int
  private let states: Int
  private let limits: (low: Float, high: Float)
  private let state: Int
  var isCausal: Bool { true }

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 4)
    let widths = binding.inputWidths
    (heads, groups) = (widths[1], try binding.statement.integer("groups"))
    guard heads > 0, groups > 0, heads % groups == 0, widths[0] % heads == 0, widths[2] % groups == 0,
      widths[2] == widths[3], (1...Int(ES_SCAN_STATES)).contains(widths[2] / groups)
    else {
      throw binding.problem(
        "cannot share rows of \(widths) among \(groups) groups; states may number \(ES_SCAN_STATES)")
    }
    (headWidth, states) = (widths[0] / heads, widths[2] / groups)
    limits = try StateSpaceScanOperation.limits(binding.statement.config)
    bias = try binding.vector("step", count: heads)
    decay = try binding.vector("decay", count: heads)
    skip = try binding.vector("skip", count: heads)
    state = binding.state()
    binding.outputWidths = [widths[0]]
  }

  /// `time_step_limit: [low, high]`, where infinity is written as an object, as JSON has none.
  private static func limits(_ config: JSON) throws(Problem) -> (low: Float, high: Float) {
    guard let written = config["time_step_limit"], !written.isNull else { return (0, .infinity) }
    let numbers = (written.array ?? []).map { element -> Double? in
      if element["__float__"]?.string == "Infinity" { return .infinity }
      return element.number
    }
    guard numbers.count == 2, let low = numbers[0], let high = numbers[1], low <= high else {
      throw Problem(.architectureConfig, "`time_step_limit` should be the least and the largest step")
    }
    return (Float(low), Float(high))
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let (u, step, b, c) = (inputs[0], inputs[1], inputs[2], inputs[3])
    let y = try run.activation(width: u.width, segments: u.segments)
    let (bias, decay, skip) = (run.vector(bias), run.vector(decay), run.vector(skip))
    let stateOfHead = headWidth * scanRow(states)
    try run.forEachWalk(u.segments, lanes: heads, together: 1, state: state, floats: heads * stateOfHead) {
      rows, head, h in
      let (start, head) = (rows.lowerBound, head.lowerBound)
      var scan = es_head_scan_sizes(
        rows: Int64(rows.count), heads: Int64(heads), head_width: Int64(headWidth), groups: Int64(groups),
        states: Int64(states), low: limits.low, high: limits.high)
      es_head_scan(
        &scan, u.floats + start * u.width, step.floats + start * heads, bias, b.floats + start * b.width,
        c.floats + start * c.width, decay, skip, h + head * stateOfHead, y.floats + start * y.width, Int64(head))
    }
    return [y]
  }
}
