internal import CKernels
internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
internal import EspalierNumerics

/// A ``TypeSensitivity`` by the variance of weights: no text, no run of the model, one pass over the weights.
///
/// What a choice of types loses is the squared error that is to be expected of all weights, as a share of their variance:
///
///     loss(types) = sum over t of n_t v_t d(type of t) / sum over t of n_t v_t
///
/// `n` numbers a tensor, `v` their variance, `d(type)` the mean squared error of the type on normal deviates of variance 1,
/// found by encoding some. With errors that fall as 4^-b its best choice of b bits a number is the classic
/// `b_t = b + 1/2 log2(v_t / geometric mean of v)`.
///
/// Source: bits by variance `huang1963block`, eq. of the optimal assignment; as a signal for types `hasan2024quantization`.
/// The latter's other half, the sensitivity of layers, is what a measured table has beside squared errors.
struct VarianceTable {
  private let plan: QuantizationPlan
  private let types: [BlockType]
  private let workers: WorkerPool

  /// Numbers that are read at once.
  private static let tile = 1 << 16
  /// Rows of deviates that a type is tried on, each of a whole block of every type.
  private static let (rows, columns) = (64, 256)

  init(_ plan: QuantizationPlan, types: [BlockType], workers: WorkerPool) {
    (self.plan, self.types, self.workers) = (plan, types, workers)
  }

  /// - Throws: what reading weights throws; `values.not-finite` for weights that are no numbers.
  func measure(record: JSON) throws(Problem) -> TypeSensitivity {
    let errors = try types.map { (type) throws(Problem) in try Self.error(of: type, plan.request.search) }
    let files = FilePool()
    var rows: [TypeSensitivity.Row] = []
    var (bytes, whole) = (0, 0.0)
    for (tensor, job) in zip(plan.tensors, plan.jobs) where tensor.mayBeQuantized {
      let isRuled = plan.request.rules.contains { $0.matches(tensor.name) }
      guard !isRuled, case .parameter(let parameter) = job.content else { continue }
      let (count, width) = (tensor.shape.reduce(1, *), tensor.shape.last ?? 1)
      let variance: Double
      do throws(Problem) { variance = try self.variance(of: parameter, files) } catch {
        throw error.at(tensor: tensor.name)
      }
      let squares = Double(count) * variance
      var choices = zip(types, errors).filter { width % $0.0.blockLength == 0 }.map { type, error in
        TypeSensitivity.Choice(
          format: .blocks(type), bytes: plan.padded(type.byteCount(of: count)), error: squares * error)
      }
      guard let probe = choices.first else { continue }
      choices.append(.init(format: tensor.plain, bytes: plan.padded(tensor.plain.byteCount(of: count)), error: 0))
      bytes += plan.padded(tensor.byteCount)
      whole += squares
      rows.append(
        .init(
          name: tensor.name, numbers: count,
          choices: choices.sorted { ($0.bytes, $0.error) < ($1.bytes, $1.error) },
          effect: .init(format: probe.format, error: probe.error, loss: probe.error)))
    }
    for index in rows.indices where whole > 0 { rows[index].effect.loss /= whole }
    return TypeSensitivity(
      rows: rows, otherBytes: plan.byteCount - bytes,
      otherNumbers: plan.numberCount - rows.reduce(0) { $0 + $1.numbers }, record: record, signal: .variance)
  }

  /// The mean square of a tensor's numbers less the square of their mean, in float64, tiles added in their order.
  private func variance(of parameter: Parameter, _ files: FilePool) throws(Problem) -> Double {
    let reader = try parameter.recipe.reader(files: files)
    let count = parameter.elementCount
    let tiles = (count + Self.tile - 1) / Self.tile
    let sums = try AlignedBuffer(count: 2 * max(1, tiles), of: Double.self)
    let cells = sums.values(of: Double.self)
    try workers.forEach(tiles) { (index) throws(Problem) in
      let range = index * Self.tile..<min(count, (index + 1) * Self.tile)
      let values = try AlignedBuffer(count: range.count, of: Float.self)
      let scratch = try AlignedBuffer(byteCount: max(64, reader.scratchBytes(for: range.count)))
      guard let start = values.floats.baseAddress else { return }
      try reader.read(range, into: start, scratch: scratch.address)
      cells[2 * index] = es_sum(start, Int64(range.count))
      cells[2 * index + 1] = es_square_sum(start, Int64(range.count))
    }
    var (sum, squares) = (0.0, 0.0)
    for index in 0..<tiles {
      sum += cells[2 * index]
      squares += cells[2 * index + 1]
    }
    let mean = sum / Double(max(1, count))
    let variance = squares / Double(max(1, count)) - mean * mean
    guard variance.isFinite else {
      throw Problem(
        .nonFiniteInput, "the tensor holds a NaN or an infinity, and has no variance",
        remedy: "The model is damaged.")
    }
    return max(0, variance)
  }

  /// What a type loses of normal deviates, as a share of their squares.
  static func error(of type: BlockType, _ search: BlockEncoder.Search) throws(Problem) -> Double {
    let encoder = try BlockEncoder(type, search: search)
    let count = rows * columns
    let values = try AlignedBuffer(count: count, of: Float.self)
    let decoded = try AlignedBuffer(count: count, of: Float.self)
    let bytes = try AlignedBuffer(byteCount: type.byteCount(of: count))
    guard let value = values.floats.baseAddress, let other = decoded.floats.baseAddress else { return 0 }
    KeyedRandom(seed: 0, name: "types by variance").normals(startingAt: 0, into: value, count: count)
    let view = try MatrixView(
      UnsafeBufferPointer(start: value, count: count), rows: rows, columns: columns)
    try encoder.encode(view, into: bytes.bytes)
    type.decode(bytes.address, into: other, count: count)
    return es_squared_distance(value, other, Int64(count)) / es_square_sum(value, Int64(count))
  }
}
