internal import EspalierArchitectures
internal import EspalierBasics

/// One row of each sequence: `y = select(x, row: 'first')` or `'last'`. For a gradient: nothing but the rows.
struct SelectOperation: Operation {
  static let name = "select"
  private let isLast: Bool

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    let row = try binding.statement.text("row")
    guard ["first", "last"].contains(row) else { throw binding.problem("knows no row `\(row)`") }
    isLast = row == "last"
    binding.outputWidths = binding.inputWidths
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let x = inputs[0]
    let y = try run.activation(
      width: x.width, segments: .pooled(x.segments.count))
    for sequence in 0..<x.segments.count {
      let rows = x.segments.rows(of: sequence)
      let row = isLast ? rows.upperBound - 1 : rows.lowerBound
      (y.floats + sequence * x.width).update(from: x.floats + row * x.width, count: x.width)
    }
    return [y]
  }
}
