internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNumerics

/// A primitive of network programs: a pure value that turns activations into activations.
///
/// An operation is made from its statement once, checking settings, widths and parameters, and then runs on any batch.
/// It computes each row, or each sequence, independently of the others, with sums in a fixed order. Its file says what a
/// gradient would have to save.
protocol Operation: Sendable {
  /// The name in programs.
  static var name: String { get }
  /// Whether input `place` is whole numbers (tokens, positions) and not floats.
  static func readsIndices(input place: Int) -> Bool
  /// Whether inputs may have different rows; if not, all have the first one's.
  static var mixesRows: Bool { get }
  /// Whether it takes pictures of whatever number of channels and checks them when they come.
  static var takesAnyWidth: Bool { get }
  /// The matrices whose inputs an ``InputObserver`` sees.
  var matrices: [MatrixHandle] { get }
  init(_ binding: inout Binding) throws(Problem)
  /// - Parameter inputs: those of floats, in their order; those of whole numbers are in `run`.
  func run(_ inputs: [Activation], _ run: OperationRun) throws(Problem) -> [Activation]
}

extension Operation {
  static func readsIndices(input place: Int) -> Bool { false }
  static var mixesRows: Bool { false }
  static var takesAnyWidth: Bool { false }
  var matrices: [MatrixHandle] { [] }
}

/// Every operation there is; a new one is a file in `Operations/` and a line here.
enum Operations {
  static let all: [any Operation.Type] = [
    EmbeddingOperation.self, MapOperation.self, RMSNormOperation.self, RotaryOperation.self, AttentionOperation.self,
    AddOperation.self, MultiplyOperation.self, ScaleOperation.self, ActivateOperation.self, GateOperation.self,
    SoftCapOperation.self, SelectOperation.self, LayerNormOperation.self, SplitOperation.self, ExpertsOperation.self,
    RelativeBiasOperation.self, CausalConvolutionOperation.self, SelectiveScanOperation.self,
    StateSpaceScanOperation.self, ConvolutionOperation.self, BatchNormOperation.self, PoolOperation.self,
    PrependOperation.self, AddPositionsOperation.self,
  ]

  static func named(_ name: String) -> (any Operation.Type)? { all.first { $0.name == name } }
}

/// What an operation may use while it runs.
final class OperationRun {
  let pool: WorkerPool
  let workspace: Workspace
  let mode: NumericMode
  /// The parameters of the running section.
  var parameters = LoadedParameters()
  /// One state a sequence, or nil where sequences are run whole and forgotten.
  let states: [SequenceState]?
  /// Rotary tables of all frequencies, by the length that each sequence will have reached after this run.
  let rotary: RotaryTables
  /// The inputs of the running operation that are whole numbers.
  var indices: [IndexRows] = []
  /// Whether input `i` of the running operation, of those of floats, is used by nobody after it, so that its memory may
  /// take the output.
  var isLastUse: [Bool] = []
  /// Who looks at the inputs of matrices while a section runs.
  var inputs: InputObserver?

  init(pool: WorkerPool, workspace: Workspace, mode: NumericMode, states: [SequenceState]?, rotary: RotaryTables) {
    self.pool = pool
    self.workspace = workspace
    self.mode = mode
    self.states = states
    self.rotary = rotary
  }

  func matrix(_ handle: MatrixHandle) -> any LinearMap { parameters.matrices[handle.index] }

  func vector(_ handle: VectorHandle) -> UnsafeMutablePointer<Float> {
    parameters.vectors[handle.index].floats.baseAddress!
  }

  func vector(_ handle: VectorHandle?) -> UnsafeMutablePointer<Float>? {
    if let handle { vector(handle) } else { nil }
  }

  /// A new activation with undefined contents.
  func activation(width: Int, segments: Segments) throws(Problem) -> Activation {
    Activation(
      buffer: try workspace.take(segments.rows * width), width: width, segments: segments)
  }

  /// The memory of the first input that nobody needs any more, else new memory of the first input's shape.
  func inPlace(_ inputs: [Activation]) throws(Problem) -> Activation {
    for (index, input) in inputs.enumerated() where isLastUse[index] && input.width == inputs[0].width {
      return Activation(buffer: input.buffer, width: input.width, segments: inputs[0].segments)
    }
    return try activation(width: inputs[0].width, segments: inputs[0].segments)
  }

  /// Runs `body` over all rows in spans cut by shape, several at once.
  func forEachSpan(
    rows: Int, width: Int, _ body: (Range<Int>) throws(Problem) -> Void
  ) throws(Problem) {
    // Enough elements to be worth another thread's while.
    let span = max(1, 16_384 / max(1, width))
    let spans = (rows + span - 1) / span
    try pool.forEach(spans) { (index) throws(Problem) in
      try body(index * span..<min(rows, (index + 1) * span))
    }
  }

  /// `y = x Wᵀ` for each matrix, into new activations. Whoever looks at the inputs of matrices sees x.
  func apply(_ matrices: [MatrixHandle], to x: Activation) throws(Problem) -> [Activation] {
    try inputs?.see(x, before: matrices)
    let maps = matrices.map(matrix)
    var outputs: [Activation] = []
    var views: [MutableMatrixView<Float>] = []
    for map in maps {
      let y = try activation(width: map.outputWidth, segments: x.segments)
      outputs.append(y)
      views.append(try MutableMatrixView(y.mutableView, rows: y.rows, columns: y.width))
    }
    let input = try MatrixView(x.view, rows: x.rows, columns: x.width)
    try LinearMaps.apply(maps, to: input, into: views, mode: mode, parallel: parallel)
    return outputs
  }

  /// The pool as a loop.
  func parallel(_ count: Int, _ body: (Int) throws(Problem) -> Void) throws(Problem) {
    try pool.forEach(count, body)
  }
}

/// An operation in which a token sees others.
protocol SequenceOperation: Operation {
  /// Whether it sees only what came before, so that a sequence can be continued.
  var isCausal: Bool { get }
}
