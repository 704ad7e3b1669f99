public import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
public import EspalierExecution
public import EspalierNumerics

/// What a basis is asked for.
public struct BasisOptions: Sendable {
  public var output: String
  /// Tensors that are kept of each parameter, 1 to the number of models.
  public var rank: Int
  /// What they are stored in: f32, f16 or bf16.
  public var elementType = ElementType.f16
  public var policy = OutputFolder.Policy()
  public var threads = Machine.processorCount
  public var memory = Machine.memoryBytes / 2
  public var models: String?

  public init(output: String, rank: Int) {
    self.output = output
    self.rank = rank
  }
}

/// Fine-tunes of one base as a small basis, from which each is rebuilt: the verb `basis make`.
///
/// Of each parameter the changes `d_1 ... d_k` are rows of a matrix whose truncated singular value decomposition is the
/// nearest of its rank; it follows from the Gram matrix alone (Eckart, Young 1936):
///
///     G = D Dᵀ = V diag(l) Vᵀ,   b_j = sum_i V_ij d_i,   d_i ~ sum_(j <= r) V_ij b_j
///
/// so that the error of model i is `sum_(j > r) l_j V_ij²`: known for every rank at once. At r = k only rounding is lost.
public struct ModelBasis: Sendable {
  let options: BasisOptions
  let changes: ModelChanges
  public var warnings: [Problem] { changes.warnings }

  /// Opens all models, headers only.
  ///
  /// - Throws: everything that can be known now.
  public init(
    of models: [String], from base: String, options: BasisOptions, families: [Architecture]
  ) throws(Problems) {
    self.options = options
    changes = try ModelChanges(
      of: models, from: base, writing: options.output,
      locator: ModelLocator(recipeFolder: ".", models: options.models), families: families, threads: options.threads)
    let stored = options.rank * changes.targets.reduce(0) { $0 + options.elementType.byteWidth * $1.elementCount }
    var problems = OutputFolder.obstacles(
      at: options.output, policy: options.policy, bytes: 3 * stored, isOurs: Self.isOurs)
    if let problem = Problem.memoryCeiling(
      changes.targets.map { ($0.name, BasisDecomposition.memoryBytes($0)) }, beside: changes.fixedBytes,
      allowed: options.memory)
    {
      problems.append(problem)
    }
    guard problems.isEmpty else { throw Problems(problems) }
  }

  /// Whether a file may be replaced.
  private static func isOurs(_ path: String) -> Bool { BasisFile.isBasis(path) }

  /// Decomposes all parameters and writes the file, which appears whole or not at all.
  ///
  /// - Throws: `delta.nothing` if all models are the base; what reading and writing throw. What was finished stays for
  ///   `--resume`.
  public func run(listener: any ProgressListener) throws(Problem) -> BasisReport {
    let start = Machine.monotonicSeconds
    let made: [(String, JSON)] = [
      ("verb", "basis make"), ("rank", .number(options.rank)), ("dtype", .string(options.elementType.rawValue)),
    ]
    let coding = try ChangeCoding(
      changes, to: options.output, made: made, policy: options.policy, threads: options.threads,
      memory: options.memory, isOurs: Self.isOurs, listener: listener)
    defer { coding.pool.stop() }
    let identity = try BaseIdentity(of: changes.base, workers: coding.pool)
    listener.receive(
      .began(stage: "basis", totalBytes: changes.targets.reduce(0) { $0 + 4 * $1.elementCount }))
    let (scratch, rank, type) = (coding.scratch, options.rank, options.elementType)
    let found = try coding.coded(
      as: "basis", needing: { BasisDecomposition.memoryBytes($0) },
      coding: { (sources) throws(Problem) in
        try BasisDecomposition(of: sources, rank: rank, elementType: type, scratch: scratch)
      })
    listener.receive(.ended(stage: "basis", seconds: Machine.monotonicSeconds - start))
    guard !found.isEmpty else {
      try coding.output.discard()
      throw Problem(.deltaNothing, "the models are equal to \(changes.baseName)")
    }
    let file = BasisFile(
      models: changes.names, rank: rank, baseName: changes.baseName, base: identity, tensors: found.map(\.tensor))
    let bytes = try coding.finish(file.tensors.flatMap(\.parts), metadata: file.metadata)
    return BasisReport(
      output: options.output, base: changes.baseName, names: changes.names, rank: rank, parts: found.map(\.report),
      fileBytes: bytes, seconds: Machine.monotonicSeconds - start)
  }
}
