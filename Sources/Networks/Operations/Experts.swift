internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics

/// A mixture of experts (Shazeer et al. 2017): each row goes through the `count` experts of largest probability.
///
///     p = softmax(r),  y = sum over the chosen e of p[e] down_e (f(gate_e x) * up_e x)
///
/// For a gradient: x, r, the choice and each expert's gate and up.
///
/// `y = experts(x, r, gate: @..{expert}.., up: @..{expert}.., down: @..{expert}.., count: k, f: name)`, r the router's
/// logits. Settings: `normalize`, whether the chosen probabilities are made to add up to 1 (default false). Equal
/// probabilities are chosen by index; a row's experts are added in the order of their numbers.
struct ExpertsOperation: Operation {
  static let name = "experts"
  private let gate: [MatrixHandle]
  private let up: [MatrixHandle]
  private let down: [MatrixHandle]
  private let count: Int
  private let isNormalized: Bool
  private let function: es_activation

  var matrices: [MatrixHandle] { gate + up + down }

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 2)
    let (width, inner) = (binding.inputWidths[0], binding.shape("gate")?.first ?? 0)
    gate = try binding.matrices("gate", outputs: inner, inputs: width)
    up = try binding.matrices("up", outputs: inner, inputs: width)
    down = try binding.matrices("down", outputs: width, inputs: inner)
    count = try binding.statement.integer("count")
    isNormalized = binding.statement.has("normalize") ? try binding.statement.truth("normalize") : false
    function = try es_activation(named: try binding.statement.text("f"))
    guard gate.count == binding.inputWidths[1], up.count == gate.count, down.count == gate.count,
      (1...max(1, gate.count)).contains(count), (1...SlotLayout.widest).contains(inner)
    else {
      throw binding.problem("chooses \(count) of \(gate.count) experts by \(binding.inputWidths[1]) logits")
    }
    binding.outputWidths = [binding.inputWidths[0]]
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let (x, router) = (inputs[0], inputs[1])
    let y = try run.activation(width: x.width, segments: x.segments)
    y.floats.update(repeating: 0, count: y.count)
    let chosen = try choose(router, run)
    for expert in gate.indices where !chosen[expert].isEmpty {
      let rows = chosen[expert]
      let segments = Segments(lengths: [rows.count])
      let part = try run.activation(width: x.width, segments: segments)
      for (index, row) in rows.enumerated() {
        (part.floats + index * x.width).update(from: x.floats + row.row * x.width, count: x.width)
      }
      let inner = try run.apply([gate[expert], up[expert]], to: part)
      let (g, u) = (inner[0], inner[1])
      try run.forEachSpan(rows: g.rows, width: g.width) { rows in
        let start = rows.lowerBound * g.width
        es_activate_gate(function, g.floats + start, u.floats + start, g.floats + start, Int64(rows.count * g.width))
      }
      let out = try run.apply([down[expert]], to: g)[0]
      try run.forEachSpan(rows: rows.count, width: x.width) { span in
        for index in span {
          es_add_scaled(
            out.floats + index * x.width, rows[index].weight, y.floats + rows[index].row * x.width, Int64(x.width))
        }
      }
      for activation in [part, g, u, out] { run.workspace.giveBack(activation) }
    }
    return [y]
  }

  private struct Share {
    var row: Int
    var weight: Float
  }

  /// The rows of each expert.
  private func choose(_ router: Activation, _ run: OperationRun) throws(Problem) -> [[Share]] {
    var chosen: [[Share]] = Array(repeating: [], count: gate.count)
    let experts = router.width
    let probabilities = try run.activation(width: experts, segments: router.segments)
    es_softmax(router.floats, probabilities.floats, Int64(router.rows), Int64(experts))
    for row in 0..<router.rows {
      let values = UnsafeBufferPointer(start: probabilities.floats + row * experts, count: experts)
      let best = values.indices.sorted { (values[$0], $1) > (values[$1], $0) }.prefix(count)
      let sum = isNormalized ? best.reduce(Float(0)) { $0 + values[$1] } : 1
      for expert in best { chosen[expert].append(Share(row: row, weight: values[expert] / sum)) }
    }
    run.workspace.giveBack(probabilities)
    return chosen
  }
}
