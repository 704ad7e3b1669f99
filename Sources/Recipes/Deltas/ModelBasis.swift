internal import CKernels
public import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierExecution
public import EspalierNumerics

/// What a basis is asked for.
public struct BasisOptions: Sendable {
  public var output: String
  /// Tensors that are kept of each parameter, 1 to the number of models.
  public var rank: Int
  /// What they are stored in: f32, f16 or bf16.
  public var elementType = ElementType.f16
  public var force = false
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
  let base: any Checkpoint
  let baseName: String
  let names: [String]
  /// For every parameter of floats: the base's, and one of each model.
  let targets: [(base: Parameter, models: [Parameter])]
  public let warnings: [Problem]

  /// Opens all models, headers only.
  ///
  /// - Throws: everything that can be known now.
  public init(
    of models: [String], from base: String, options: BasisOptions, families: [Architecture]
  ) throws(Problems) {
    let locator = ModelLocator(recipeFolder: ".", models: options.models)
    var problems = Problems()
    var opened: [any Checkpoint] = []
    for name in [base] + models {
      let reference = ModelReference(parsing: name, line: 0)
      do throws(Problems) {
        problems.all += try OutputOverlap.problems(writing: options.output, reading: reference, locator: locator)
        opened.append(try locator.open(reference, families: families))
      } catch { problems.all += error.all.map(\.withoutLine) }
    }
    guard problems.all.isEmpty else { throw problems }
    self.options = options
    (self.base, baseName, names) = (opened[0], base, models)
    warnings = opened.flatMap(\.warnings)
    let tables = opened.dropFirst().map { $0.parametersByName() }
    var targets: [(base: Parameter, models: [Parameter])] = []
    for parameter in opened[0].parameters {
      let found = tables.compactMap { $0[ExactString(parameter.name)] }
      guard found.count == models.count, found.allSatisfy({ $0.shape == parameter.shape }) else {
        problems.add(
          Problem(.deltaMismatch, "not every model has the parameter in the base's shape", tensor: parameter.name))
        continue
      }
      targets.append((parameter, found))
    }
    for (name, table) in zip(models, tables) where table.count != opened[0].parameters.count {
      problems.add(Problem(.deltaMismatch, "\(name) has \(table.count) parameters, the base \(targets.count)"))
    }
    self.targets = targets
    if FileSystem.kind(options.output) != nil, !options.force {
      problems.add(
        Problem(
          .outputExists, "there is something at \(options.output) already", remedy: "--force replaces it.",
          file: options.output))
    }
    guard problems.all.isEmpty else { throw problems }
  }

  /// What came of one parameter.
  private struct Part {
    var tensor: BasisFile.Tensor
    var report: BasisReport.Part
  }

  /// - Throws: `delta.nothing` if all models are the base; what reading and writing throw.
  public func run(listener: any ProgressListener) throws(Problem) -> BasisReport {
    let start = Machine.monotonicSeconds
    let scratch = try TensorScratch(beside: options.output)
    defer { scratch.remove() }
    let pool = WorkerPool(threads: options.threads)
    defer { pool.stop() }
    let identity = try BaseIdentity(of: base, workers: pool)
    let ledger = MemoryLedger(capacity: max(0, options.memory - DeltaMaking.baseBytes))
    let files = FilePool()
    listener.receive(
      .began(stage: "basis", totalBytes: targets.reduce(0) { $0 + 4 * $1.base.elementCount }))
    let parts: [Part?] = try pool.map(targets.count) { (index) throws(Problem) in
      let target = targets[index]
      let bytes = target.models.reduce(20 * DeltaSource.spanLength) {
        $0 + DeltaSource.memoryBytes($1, base: target.base)
      }
      do throws(Problem) {
        return try ledger.withReservation(of: bytes) { () throws(Problem) -> Part? in
          defer { listener.receive(.advanced(bytes: 4 * target.base.elementCount)) }
          guard target.base.elementCount > 0 else { return nil }
          var sources: [DeltaSource] = []
          for model in target.models { sources.append(try DeltaSource(model, base: target.base, files: files)) }
          guard target.base.elementType.isFloat else {
            for source in sources { try source.requireNothing() }
            return nil
          }
          return try decompose(sources, scratch: scratch)
        }
      } catch { throw error.at(tensor: target.base.name) }
    }
    listener.receive(.ended(stage: "basis", seconds: Machine.monotonicSeconds - start))
    let found = parts.compactMap { $0 }
    guard !found.isEmpty else { throw Problem(.deltaNothing, "the models are equal to \(baseName)") }
    let file = BasisFile(
      models: names, rank: options.rank, baseName: baseName, base: identity, tensors: found.map(\.tensor))
    let bytes = try scratch.assemble(
      file.tensors.flatMap(\.parts), metadata: file.metadata, to: options.output)
    return BasisReport(
      output: options.output, base: baseName, names: names, rank: options.rank, parts: found.map(\.report),
      fileBytes: bytes, seconds: Machine.monotonicSeconds - start)
  }

  private func decompose(_ sources: [DeltaSource], scratch: TensorScratch) throws(Problem) -> Part? {
    let k = sources.count
    func forEachSpan(_ body: (Range<Int>, [UnsafeMutablePointer<Float>]) throws(Problem) -> Void) throws(Problem) {
      for span in DeltaSource.spans(of: sources[0].count) {
        var values: [UnsafeMutablePointer<Float>] = []
        for source in sources { values.append(try source.values(in: span)) }
        try body(span, values)
      }
    }
    var gram = [Double](repeating: 0, count: k * k)
    try forEachSpan { (span, deltas) throws(Problem) in
      for block in CanonicalSum.blocks(of: span.count) {
        for i in 0..<k {
          for j in 0...i {
            gram[i * k + j] += es_dot(deltas[i] + block.lowerBound, deltas[j] + block.lowerBound, Int64(block.count))
          }
        }
      }
    }
    for i in 0..<k { for j in 0..<i { gram[j * k + i] = gram[i * k + j] } }
    guard gram.allSatisfy(\.isFinite) else {
      throw Problem(.nonFiniteMatrix, "a change is not finite", remedy: "One of the models holds NaN or infinity.")
    }
    let norms = (0..<k).map { gram[$0 * k + $0] }
    guard norms.contains(where: { $0 > 0 }) else { return nil }
    let eigen = try LinearAlgebra.symmetricEigen(try Matrix(rows: k, columns: k, elements: gram))
    // The largest first; vectors are rows.
    let values = eigen.values.reversed().map { max(0, $0) }
    let vectors = (0..<k).map { j in (0..<k).map { eigen.vectors.elements[(k - 1 - j) * k + $0] } }
    let count = min(options.rank, values.count { $0 > 1e-15 * values[0] })

    let (span, type) = (DeltaSource.spanLength, options.elementType)
    let sum = try AlignedBuffer(count: span, of: Float.self)
    let basis = sum.floats.baseAddress!
    func combine(_ j: Int, _ deltas: [UnsafeMutablePointer<Float>], _ length: Int) {
      basis.update(repeating: 0, count: length)
      for i in 0..<k { es_add_scaled(deltas[i], Float(vectors[j][i]), basis, Int64(length)) }
    }
    var largest = [Float](repeating: 0, count: count)
    try forEachSpan { range, deltas in
      for j in 0..<count {
        combine(j, deltas, range.count)
        for index in 0..<range.count { largest[j] = max(largest[j], abs(basis[index])) }
      }
    }
    // Powers of two, so that scaling is exact.
    let scales = largest.map { $0 > 0 ? Float(sign: .plus, exponent: $0.exponent + 1, significand: 1) : 1 }
    let parts = (0..<count).map { scratch.reserve("\(sources[0].name).basis.\($0)", type, sources[0].shape) }
    let (bytes, rest) = (try AlignedBuffer(byteCount: 4 * span), try AlignedBuffer(count: k * span, of: Float.self))
    var errors = [Double](repeating: 0, count: k)
    try forEachSpan { (range, deltas) throws(Problem) in
      let left = (0..<k).map { rest.floats.baseAddress! + $0 * span }
      for i in 0..<k { left[i].update(from: deltas[i], count: range.count) }
      for j in 0..<count {
        combine(j, deltas, range.count)
        for index in 0..<range.count { basis[index] /= scales[j] }
        type.encode(basis, into: bytes.address, count: range.count)
        type.decode(bytes.address, into: basis, count: range.count)
        try scratch.write(
          UnsafeRawBufferPointer(rebasing: bytes.bytes[..<(range.count * type.byteWidth)]), to: parts[j],
          at: range.lowerBound * type.byteWidth)
        for i in 0..<k {
          es_add_scaled(basis, -Float(vectors[j][i] * Double(scales[j])), left[i], Int64(range.count))
        }
      }
      for i in 0..<k { errors[i] += es_square_sum(left[i], Int64(range.count)) }
    }
    var digests: [Digest] = []
    for part in parts { digests.append(try scratch.measure(part).digest) }
    let tensor = BasisFile.Tensor(
      name: sources[0].name, shape: sources[0].shape, scales: scales.map { Double($0) },
      coefficients: (0..<k).map { i in (0..<count).map { vectors[$0][i] } }, parts: parts, digests: digests)
    let tails = (1...k).map { rank in
      (0..<k).map { i in (rank..<k).reduce(0) { $0 + values[$1] * vectors[$1][i] * vectors[$1][i] } }
    }
    return Part(
      tensor: tensor,
      report: .init(
        name: sources[0].name, elements: sources[0].count, squaredNorms: norms, squaredErrors: errors,
        squaredErrorsByRank: tails))
  }

  /// One of the models of a basis, rebuilt: `basis get`.
  ///
  /// - Parameters:
  ///   - model: its name as it was given, the last component of it, or its number from 1.
  ///   - base: nil for the base by the name the file has.
  /// - Returns: a plan like that of a conversion, which writes the model.
  public static func rebuilding(
    _ model: String, from path: String, base: String?, options: MergeOptions
  ) throws(Problems) -> MergePlan {
    let name: String
    let opened: any Checkpoint
    var changes: [DeltaTensor] = []
    do throws(Problem) {
      let file = try BasisFile(at: path)
      let index = try file.index(of: model, path: path)
      name = base ?? file.baseName
      opened = try open(name, options)
      guard try BaseIdentity.sample(of: opened) == file.base.sample else {
        throw Problem(
          .deltaBase, "the basis was made on another base: \(file.baseName)",
          remedy: "\(opened.location) has other names, shapes or values than that base had.", file: path)
      }
      for tensor in file.tensors { changes.append(try tensor.change(of: index)) }
    } catch { throw Problems([error]) }
    let checkpoint = try DeltaCheckpoint(base: opened, tensors: changes, adapterConfig: nil, path: path)
    let reference = ModelReference(parsing: "\(name)+\(path)", line: 0)
    return try Conversion.plan(
      of: reference.key, elementType: nil, options: options, given: [ExactString(reference.key): checkpoint])
  }

  private static func open(_ name: String, _ options: MergeOptions) throws(Problem) -> any Checkpoint {
    do throws(Problems) {
      return try ModelLocator(recipeFolder: ".", models: options.models).open(
        ModelReference(parsing: name, line: 0), families: try Architecture.families(with: options.architectures))
    } catch { throw error.all.first?.withoutLine ?? Problem(.basisFormat, "the base cannot be opened", file: name) }
  }
}
