public import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
public import EspalierNumerics
public import EspalierReduction

/// One method on one matrix and its calibration inputs: the verb `try`, the bench of whoever studies a method.
///
/// The method's result is set beside that of the plainest method of its kind at the same budget: `magnitude` where
/// zeros are made, `svd` where factors are, `rtn` where codes are. Both errors are those of the outputs on the same inputs.
public struct Trial: Sendable {
  /// How the output file holds the result.
  public enum Store: String, Sendable, CaseIterable {
    /// Every element under the weight's name; factors beside it.
    case dense
    /// The form alone, as models have it (`Docs/reduced.md`).
    case reduced
  }

  /// Where the statistics of the inputs come from.
  public enum Source: Sendable {
    /// Rows x, `[any number ..., inputs]`.
    case inputs(FilePart)
    /// A site of a file of statistics.
    case statistics(FilePart)
  }

  public var method: String
  /// Values of the method's parameters that are not the standard ones.
  public var parameters: [String: ParameterValue]
  public var budget: MatrixBudget
  public var weight: FilePart
  /// Whether the weight is stored `[inputs, outputs]`.
  public var isTransposed = false
  /// Nil for methods that need none: then errors are those of the weight.
  public var source: Source?
  /// What the result is rounded to; nil for the weight's own type, where files have it.
  public var elementType: ElementType?
  public var store = Store.dense
  /// The file to write; nil to measure only.
  public var output: String?
  /// Whether a file that is there already is replaced.
  public var replacesOutput = false
  public var threads = Machine.processorCount
  /// Ceiling on resident memory, in bytes.
  public var memory = Machine.memoryBytes / 2

  public init(
    method: String, parameters: [String: ParameterValue] = [:], budget: MatrixBudget, weight: FilePart,
    source: Source?
  ) {
    self.method = method
    self.parameters = parameters
    self.budget = budget
    self.weight = weight
    self.source = source
  }

  /// Types that results are stored in.
  public static let elementTypes: [ElementType] = [.f32, .f16, .bf16]

  /// Reads the matrix and its inputs, runs the method and the one it is compared with, measures both, and writes the
  /// output: whole or not at all.
  ///
  /// - Parameter families: the descriptions by which a GGUF file is understood.
  /// - Throws: `usage.tensor` for tensors that are not there or do not fit, `memory.ceiling`, `output.exists`, what
  ///   reading and writing throw, and what the method throws.
  public func run(families: [Architecture], listener: any ProgressListener) throws(Problems) -> TrialResult {
    let start = Machine.monotonicSeconds
    let weight = try TrialTensor(self.weight, families: families)
    var inputs: TrialTensor?
    if case .inputs(let part)? = source { inputs = try TrialTensor(part, families: families) }
    let method = try single { () throws(Problem) in try ReductionMethods.method(named: self.method) }
    return try single { () throws(Problem) in
      let shape = try self.shape(of: weight, inputs: inputs)
      if let output { try TrialFile.requireFree(output, force: replacesOutput, inputs: inputFiles) }
      try requireMemory(outputs: shape.outputs, inputs: shape.inputs, hasStatistics: source != nil)
      let solver = try method.init(ReductionParameters(parameters, for: method.card))
      let total = weight.storedBytes + (inputs?.storedBytes ?? 0)
      listener.receive(.began(stage: "try", totalBytes: total))
      let pool = WorkerPool(threads: threads)
      defer { pool.stop() }
      let parallel: MatrixProduct.ParallelLoop = { (count, body) throws(Problem) in try pool.forEach(count, body) }

      let matrix = try weight.matrix(transposed: isTransposed)
      listener.receive(.advanced(bytes: weight.storedBytes))
      let gathering = Machine.monotonicSeconds
      let statistics = try self.statistics(inputs, width: shape.inputs, parallel: parallel, listener: listener)
      let solving = Machine.monotonicSeconds
      let reduced = try solver.reduce(matrix, statistics, to: budget, parallel: parallel)
      let solved = Machine.monotonicSeconds
      let other = try comparison(with: reduced, of: method.card, matrix, statistics, parallel)

      let measure = TrialMeasure(
        weight: matrix, statistics: statistics, elementType: elementType ?? Self.storedType(of: weight),
        store: store, budget: budget, parallel: parallel)
      var result = TrialResult(
        trial: self, card: method.card, weightName: weight.parameter.name, weightType: weight.parameter.elementType,
        weightBytes: weight.storedBytes, outputs: shape.outputs, inputs: shape.inputs, rows: statistics?.count,
        elementType: measure.elementType,
        before: try measure.outcome(of: other.reduced, other.name, other.parameters),
        after: try measure.outcome(of: reduced, method.card.name, parameters),
        times: .init(
          statistics: solving - gathering, solve: solved - solving - reduced.measuringSeconds,
          error: reduced.measuringSeconds))
      if let output {
        let file = try TrialFile(reduced, measure: measure, name: weight.parameter.name, about: result.record)
        result.outputBytes = try file.write(to: output)
      }
      result.peakBytes = Machine.peakResidentBytes
      listener.receive(.ended(stage: "try", seconds: Machine.monotonicSeconds - start))
      return result
    }
  }

  private func single<T>(_ body: () throws(Problem) -> T) throws(Problems) -> T {
    do throws(Problem) { return try body() } catch { throw Problems([error]) }
  }

  private var inputFiles: [String] {
    switch source {
    case .inputs(let part)?, .statistics(let part)?: [weight.file, part.file]
    case nil: [weight.file]
    }
  }

  // MARK: - What is read

  private func shape(
    of weight: TrialTensor, inputs: TrialTensor?
  ) throws(Problem) -> (outputs: Int, inputs: Int) {
    let shape = weight.parameter.shape
    guard shape.count == 2, shape[0] > 0, shape[1] > 0 else {
      throw Problem(
        .usageTensor, "the weight has the shape \(shape); a matrix was expected", file: weight.file,
        tensor: weight.parameter.name)
    }
    let (outputs, width) = isTransposed ? (shape[1], shape[0]) : (shape[0], shape[1])
    guard let inputs else { return (outputs, width) }
    guard inputs.parameter.shape.count >= 2, inputs.parameter.elementCount > 0, inputs.parameter.rowLength == width
    else {
      let other = inputs.parameter.shape.count >= 2 && inputs.parameter.rowLength == outputs
      throw Problem(
        .usageTensor,
        "the inputs have the shape \(inputs.parameter.shape); rows of \(width) numbers were expected, for a weight of "
          + "\(outputs) outputs and \(width) inputs",
        remedy: other
          ? "If the weight is stored [inputs, outputs], say \(isTransposed ? "no --transposed" : "--transposed")."
          : nil,
        file: inputs.file, tensor: inputs.parameter.name)
    }
    return (outputs, width)
  }

  private func statistics(
    _ inputs: TrialTensor?, width: Int, parallel: MatrixProduct.ParallelLoop, listener: any ProgressListener
  ) throws(Problem) -> SiteStatistics? {
    switch source {
    case nil: return nil
    case .inputs:
      guard let inputs else { return nil }
      let sums = try SiteAccumulator(width: width, momentLimit: width)
      try inputs.forEachRows { (_, elements) throws(Problem) in
        try sums.add(MatrixView(elements, rows: elements.count / width, columns: width), parallel: parallel)
        listener.receive(.advanced(bytes: inputs.storedBytes * elements.count / inputs.parameter.elementCount))
      }
      let finished = try sums.finish(parallel: parallel)
      guard finished.isFinite else {
        throw Problem(
          .nonFiniteMatrix, "the inputs hold NaN or infinity, or squares of them overflow", file: inputs.file,
          tensor: inputs.parameter.name)
      }
      return try finished.value()
    case .statistics(let part):
      let file = try StatisticsFile(at: part.file)
      let site = file.sites[try part.choice(among: file.sites, kind: "site")]
      guard let statistics = try file.statistics(of: site), statistics.width == width else {
        throw Problem(
          .usageTensor,
          "the site \(site) has \(file.layout.sites.first { $0.name == site }?.width ?? 0) columns, the weight "
            + "\(width) inputs", remedy: "Statistics are of the site whose rows enter the weight.", file: part.file)
      }
      return statistics
    }
  }

  private static func storedType(of weight: TrialTensor) -> ElementType {
    elementTypes.contains(weight.parameter.elementType) ? weight.parameter.elementType : .f32
  }

  /// The weight in float32; what a method works on, in float64, is at most some copies of weight and moment.
  private func requireMemory(outputs: Int, inputs: Int, hasStatistics: Bool) throws(Problem) {
    let (m, n) = (Double(outputs), Double(inputs))
    let moment = hasStatistics ? 8 * n * n : 0
    let bytes = Double(64 << 20) + 4 * Double(TrialTensor.pieceLength) * 2 + (4 * 3 + 8 * 6) * m * n + 5 * moment
    guard bytes <= Double(memory) else {
      throw Problem(
        .memoryCeiling,
        "a weight of \(outputs) x \(inputs) with its statistics may take \(ByteCount.text(Int(min(bytes, 1e18)))) and "
          + "--memory allows \(ByteCount.text(memory))",
        remedy: "Give --memory \(Int(min(bytes, 1e18)) >> 20 + 1)M or more.")
    }
  }

  // MARK: - What it is compared with

  private func comparison(
    with reduced: ReducedMatrix, of card: MethodCard, _ matrix: Matrix<Float>, _ statistics: SiteStatistics?,
    _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> (name: String, parameters: [String: ParameterValue], reduced: ReducedMatrix) {
    let plain: any ReductionMethod.Type =
      switch budget {
      case _ where ReductionMethods.makesCodes(method): PlainRounding.self
      case .sparsity, .pattern: MagnitudePruning.self
      case .rank, .parameters: PlainSVD.self
      }
    // What was asked of both, a structure for instance, is the same for both.
    var shared = parameters.filter { name, value in
      plain.card.parameter(name).map { $0.complaint(about: value) == nil } ?? false
    }
    if case .quantized(let matrix) = reduced.form {
      // Codes of as many bits, and what shares a scale, whether it was given or is the method's own.
      shared["bits"] = .number(Double(matrix.grid.bits))
      if let sharing = parameters["scales"] ?? card.parameter("scales")?.standard,
        plain.card.parameter("scales")?.complaint(about: sharing) == nil
      {
        shared["scales"] = sharing
      }
    }
    let solver = try plain.init(ReductionParameters(shared, for: plain.card))
    return (plain.card.name, shared, try solver.reduce(matrix, statistics, to: budget, parallel: parallel))
  }
}
