internal import EspalierArchitectures
internal import EspalierBasics

/// Parts of rows that one map computes together: queries, keys and values; gate and up. For a gradient: nothing.
///
/// `q, k, v = split(qkv, by: @.attention.query_key_value, into: 'query key value')`: the columns that the parameter's
/// first dimension labels so, in the order in which they are stored. `'a b+c'` puts b and c into one part.
struct SplitOperation: Operation {
  static let name = "split"
  /// For each part the runs of columns it takes.
  private let parts: [[Range<Int>]]

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    let columns = try Self.columns(of: binding.statement, in: binding.description, width: binding.inputWidths[0])
    parts = columns.map { columns in
      var runs: [Range<Int>] = []
      for column in columns {
        if let last = runs.last, last.upperBound == column {
          runs[runs.count - 1] = last.lowerBound..<column + 1
        } else {
          runs.append(column..<column + 1)
        }
      }
      return runs
    }
    binding.outputWidths = parts.map { $0.reduce(0) { $0 + $1.count } }
  }

  /// The columns of the row that each output takes.
  ///
  /// - Parameter width: of the row; nil where it is known to fit.
  /// - Throws: `network.program` if the statement's parameter does not label rows of that width.
  static func columns(
    of statement: Statement, in description: ModelDescription, width: Int? = nil
  ) throws(Problem) -> [[Int]] {
    func problem(_ what: String) -> Problem {
      Problem(.networkProgram, "`\(Self.name)` \(what), in `\(statement.source)`")
    }
    let labels = try statement.text("into").split(separator: " ").map(String.init)
    guard let name = statement.parameters["by"]?.first, let parameter = description.parameter(named: name),
      parameter.dimensions.count > 0
    else { throw problem("needs the parameter `by`") }
    let dimension = parameter.dimensions[parameter.recipe.isTransposed ? parameter.dimensions.count - 1 : 0]
    let size = try dimension.size()
    guard size == width ?? size else {
      throw problem("gets rows of \(width ?? size), and `\(name)` makes rows of another width")
    }
    var parts: [[Int]] = []
    for label in labels {
      var columns: [Int] = []
      for piece in label.split(separator: "+") { columns += try dimension.indices(ofSegment: String(piece)) }
      parts.append(columns)
    }
    return parts
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    let x = inputs[0]
    var outputs: [Activation] = []
    for part in parts {
      outputs.append(
        try run.activation(width: part.reduce(0) { $0 + $1.count }, segments: x.segments))
    }
    try run.forEachSpan(rows: x.rows, width: x.width) { rows in
      for row in rows {
        for (part, output) in zip(parts, outputs) {
          var to = output.floats + row * output.width
          for columns in part {
            to.update(from: x.floats + row * x.width + columns.lowerBound, count: columns.count)
            to += columns.count
          }
        }
      }
    }
    return outputs
  }
}
