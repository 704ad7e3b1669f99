internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierLinearMaps

/// Rows of a table: `y[t] = E[tokens[t]]`. For a gradient: the tokens.
///
/// `x = embedding(tokens, @table)`; also of types and positions, with `offset` added to the index. The table is gathered
/// from its stored form, which a tied head shares.
struct EmbeddingOperation: Operation {
  static let name = "embedding"
  static func readsIndices(input place: Int) -> Bool { place == 0 }
  private let table: MatrixHandle
  let entries: Int
  private let width: Int
  private let offset: Int32
  private let what: String

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    guard let shape = binding.shape("weight"), let last = shape.last, shape.count >= 2 else {
      throw binding.problem("needs a table")
    }
    width = last
    entries = shape.dropLast().reduce(1, *)
    table = try binding.matrix(outputs: entries, inputs: width)
    offset = binding.statement.has("offset") ? Int32(clamping: try binding.statement.integer("offset")) : 0
    what = binding.statement.inputs[0]
    binding.outputWidths = [width]
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let (indices, segments) = (run.indices[0].values, run.indices[0].segments)
    if let wrong = indices.firstIndex(where: { !(0..<entries).contains(Int($0) + Int(offset)) }) {
      throw Problem(
        .networkInput, "\(indices[wrong]) is not among the \(entries - Int(offset)) \(what) the model has")
    }
    let y = try run.activation(width: width, segments: segments)
    let map = run.matrix(table)
    try run.forEachSpan(rows: y.rows, width: width) { (rows) throws(Problem) in
      try map.gather(
        rows: indices[rows].lazy.map { Int($0) + Int(offset) }, into: y.floats + rows.lowerBound * width)
    }
    return [y]
  }
}
