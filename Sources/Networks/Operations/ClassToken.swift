internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics

/// A learnt row before the rows of every sequence; the pixels of a picture become a sequence. For a gradient: nothing.
///
/// `y = prepend(x, @class_token)`.
struct PrependOperation: Operation {
  static let name = "prepend"
  private let row: VectorHandle

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    row = try binding.vector(count: binding.inputWidths[0])
    binding.outputWidths = binding.inputWidths
    binding.outputRows = .prepended(binding.inputRows[0])
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let x = inputs[0]
    let lengths = (0..<x.segments.count).map { x.segments.rows(of: $0).count + 1 }
    let y = try run.activation(width: x.width, segments: Segments(lengths: lengths))
    let row = run.vector(row)
    for sequence in 0..<lengths.count {
      let rows = x.segments.rows(of: sequence)
      let start = y.floats + y.segments.starts[sequence] * x.width
      start.update(from: row, count: x.width)
      (start + x.width).update(from: x.floats + rows.lowerBound * x.width, count: rows.count * x.width)
    }
    return [y]
  }
}

/// Learnt rows by position: `y[t] = x[t] + P[position of t]`. For a gradient: nothing.
///
/// `y = addPositions(x, @table)`, for rows whose positions no batch gives, such as patches.
struct AddPositionsOperation: Operation {
  static let name = "addPositions"
  private let table: VectorHandle
  private let entries: Int

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    let width = binding.inputWidths[0]
    let count = binding.shape("weight")?.reduce(1, *) ?? 0
    guard width > 0, count > 0, count % width == 0 else { throw binding.problem("needs a table of rows of \(width)") }
    entries = count / width
    table = try binding.vector(count: count)
    binding.outputWidths = [width]
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let x = inputs[0]
    let y = try run.inPlace(inputs)
    let positions = x.segments.positions
    if let wrong = positions.first(where: { $0 >= entries }) {
      throw Problem(.networkInput, "there is no position \(wrong) among the \(entries) the model has")
    }
    let table = run.vector(table)
    try run.forEachSpan(rows: x.rows, width: x.width) { rows in
      for row in rows {
        let start = row * x.width
        es_add(x.floats + start, table + Int(positions[row]) * x.width, y.floats + start, Int64(x.width))
      }
    }
    return [y]
  }
}
