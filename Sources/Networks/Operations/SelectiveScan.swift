internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics

/// The selective scan of Mamba (Gu and Dao 2023): every channel has its own decays and step, all share B and C.
///
///     d = softplus(step),  h[t] = e^(d A) h[t-1] + d B[t] u[t],  y[t] = C[t] . h[t] + D u[t]
///
/// For a gradient: all inputs, and h every few tokens. `y = selectiveScan(u, step, B, C, decay: @A_log, skip: @D)`, A
/// `[channels, states]`. The state of a sequence is h.
struct SelectiveScanOperation: SequenceOperation {
  static let name = "selectiveScan"
  private let decay: VectorHandle
  private let skip: VectorHandle
  private let width: Int
  private let states: Int
  private let state: Int
  var isCausal: Bool { true }

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 4)
    let widths = binding.inputWidths
    (width, states) = (widths[0], widths[2])
    guard widths[1] == width, widths[3] == states, (1...Int(ES_SCAN_STATES)).contains(states) else {
      throw binding.problem("gets rows of \(widths); states may number \(ES_SCAN_STATES)")
    }
    decay = try binding.vector("decay", count: width * states)
    skip = try binding.vector("skip", count: width)
    state = binding.state()
    binding.outputWidths = [width]
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let (u, step, b, c) = (inputs[0], inputs[1], inputs[2], inputs[3])
    let y = try run.activation(width: width, segments: u.segments)
    let (decay, skip) = (run.vector(decay), run.vector(skip))
    let padded = scanRow(states)
    try run.forEachWalk(u.segments, lanes: width, together: 64, state: state, floats: width * padded) {
      rows, channels, h in
      let start = rows.lowerBound
      var scan = es_scan_sizes(rows: Int64(rows.count), width: Int64(width), states: Int64(states))
      es_selective_scan(
        &scan, u.floats + start * width, step.floats + start * width, b.floats + start * states,
        c.floats + start * states, decay, skip, h, y.floats + start * width, Int64(channels.lowerBound),
        Int64(channels.upperBound))
    }
    return [y]
  }
}

/// The length of a row of `states` states in memory.
func scanRow(_ states: Int) -> Int {
  let lanes = Int(ES_SCAN_LANES)
  return (states + lanes - 1) / lanes * lanes
}
