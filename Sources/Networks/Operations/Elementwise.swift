internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics

/// `y = a + b`. For a gradient: nothing.
struct AddOperation: Operation {
  static let name = "add"

  init(_ binding: inout Binding) throws(Problem) { try binding.checkPair() }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    [try run.elementwise(inputs) { a, b, y, count in es_add(a, b, y, count) }]
  }
}

/// `y = a * b`, element by element. For a gradient: a and b.
struct MultiplyOperation: Operation {
  static let name = "multiply"

  init(_ binding: inout Binding) throws(Problem) { try binding.checkPair() }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    [try run.elementwise(inputs) { a, b, y, count in es_multiply(a, b, y, count) }]
  }
}

/// `y = factor * x`: `scale(x, by: factor)`. For a gradient: nothing.
struct ScaleOperation: Operation {
  static let name = "scale"
  private let factor: Float

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    factor = Float(try binding.statement.number("by"))
    binding.outputWidths = binding.inputWidths
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    [try run.elementwise(inputs) { x, _, y, count in es_scaled(x, factor, y, count) }]
  }
}

/// `y = bound * tanh(x / bound)`: `softCap(x, bound: b)`; without a bound the values pass. For a gradient: y.
struct SoftCapOperation: Operation {
  static let name = "softCap"
  private let bound: Float?

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    bound = binding.statement.has("bound") ? Float(try binding.statement.number("bound")) : nil
    binding.outputWidths = binding.inputWidths
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    [
      try run.elementwise(inputs) { x, _, y, count in
        if let bound { es_soft_cap(x, bound, y, count) } else { es_scaled(x, 1, y, count) }
      }
    ]
  }
}

/// `y = f(x)`: `activate(x, f: name)`. For a gradient: x.
struct ActivateOperation: Operation {
  static let name = "activate"
  private let function: es_activation

  init(_ binding: inout Binding) throws(Problem) {
    try binding.expect(inputs: 1)
    function = try es_activation(named: try binding.statement.text("f"))
    binding.outputWidths = binding.inputWidths
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    [try run.elementwise(inputs) { x, _, y, count in es_activate(function, x, y, count) }]
  }
}

/// `y = f(g) * u`: `gate(g, u, f: name)`. For a gradient: g and u.
struct GateOperation: Operation {
  static let name = "gate"
  private let function: es_activation

  init(_ binding: inout Binding) throws(Problem) {
    try binding.checkPair()
    function = try es_activation(named: try binding.statement.text("f"))
  }

  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation] {
    [try run.elementwise(inputs) { g, u, y, count in es_activate_gate(function, g, u, y, count) }]
  }
}

extension Binding {
  /// Two inputs of one width, which is also the output's.
  fileprivate mutating func checkPair() throws(Problem) {
    try expect(inputs: 2)
    guard inputWidths[0] == inputWidths[1] else {
      throw problem("gets rows of \(inputWidths[0]) and of \(inputWidths[1])")
    }
    outputWidths = [inputWidths[0]]
  }
}

extension OperationRun {
  /// Runs `body` on spans of the inputs (the first twice if there is only one) and of an output of the same shape.
  fileprivate func elementwise(
    _ inputs: [Activation],
    _ body: (
      UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>, Int64
    ) -> Void
  ) throws(Problem) -> Activation {
    let (a, b) = (inputs[0], inputs[inputs.count - 1])
    let y = try inPlace(inputs)
    try forEachSpan(rows: y.rows, width: y.width) { rows in
      let start = rows.lowerBound * y.width
      body(a.floats + start, b.floats + start, y.floats + start, Int64(rows.count * y.width))
    }
    return y
  }
}
