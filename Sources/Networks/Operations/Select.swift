internal import EspalierArchitectures
internal import EspalierBasics

/// One row of each sequence: `y = select(x, row: 'first')` or `'last'`. For a gradient: nothing but the rows.
///
/// `select(x, tokens, row: 'last', skipping: t)` takes the last row whose token is not t, the first if all are.
struct SelectOperation: Operation {
  static let name = "select"
  static func readsIndices(input place: Int) -> Bool { place == 1 }
  private let isLast: Bool
  private let skipped: Int32?

  init(_ binding: inout Binding) throws(Problem) {
    let skips = binding.statement.has("skipping")
    if skips || binding.inputWidths.count != 2 { try binding.expect(inputs: skips ? 2 : 1) }
    skipped = skips ? Int32(clamping: try binding.statement.integer("skipping")) : nil
    let row = try binding.statement.text("row")
    guard ["first", "last"].contains(row) else { throw binding.problem("knows no row `\(row)`") }
    isLast = row == "last"
    binding.outputWidths = [binding.inputWidths[0]]
    binding.outputRows = .sequences(binding.inputRows[0])
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let x = inputs[0]
    let y = try run.activation(
      width: x.width, segments: .pooled(x.segments.count))
    for sequence in 0..<x.segments.count {
      let rows = x.segments.rows(of: sequence)
      var row = isLast ? rows.upperBound - 1 : rows.lowerBound
      if let skipped, isLast { row = rows.last { run.indices[0].values[$0] != skipped } ?? rows.lowerBound }
      (y.floats + sequence * x.width).update(from: x.floats + row * x.width, count: x.width)
    }
    return [y]
  }
}
