internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCalibration
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierLinearMaps
public import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// Everything about a pruning or a factorization that is known before a weight is read.
public struct ReductionPlan: Sendable {
  struct Block: Sendable {
    let name: String
    var targets: [ReductionTarget]
    /// Sites whose statistics are gathered together, pass by pass; empty where none are gathered.
    let passes: [[InputSite]]
    /// What takes the factors of columns behind it; nothing for methods without, and where codes are not packed.
    var folds: [ColumnFold] = []

    /// Parameters that folds change beside matrices.
    var divided: [Parameter] { folds.flatMap(\.parameters) }

    var matrices: [NetworkMatrix] { targets.flatMap(\.matrices) }
  }

  public let request: ReductionRequest
  public let checkpoint: any Checkpoint
  /// Keeps no weights: each block is used once.
  public let network: Network
  /// The model written as it is, of which reduced parameters take the place of others.
  public let conversion: MergePlan
  public let warnings: [Problem]
  let families: [Architecture]
  let treatment: ReductionTreatment
  let needs: StatisticsNeed
  let blocks: [Block]
  /// What config.json says of packed codes; nil where there are none.
  let quantizationConfig: JSON?
  let statistics: StatisticsFile?
  /// What goes from block to block lies in a file.
  let spills: Bool
  /// The most that is resident at once, in bytes.
  public let peakBytes: Int

  public var matrixCount: Int { blocks.reduce(0) { $0 + $1.matrices.count } }
  /// Beyond so many columns a moment is cut.
  var momentLimit: Int { Self.momentLimit(request, needs) }

  private static func momentLimit(_ request: ReductionRequest, _ needs: StatisticsNeed) -> Int {
    request.momentLimit ?? (needs == .moment ? MomentShape.noLimit : 8192)
  }

  /// - Parameters:
  ///   - writing: where the result goes, and under which ceiling.
  ///   - isGiven: the checkpoint is what is reduced, whatever is at the path that `model` may be.
  /// - Throws: every problem that can be known from headers, all at once.
  public init(
    _ request: ReductionRequest, of model: String, checkpoint: any Checkpoint, run: RunOptions, writing: MergeOptions,
    isGiven: Bool = false
  ) throws(Problems) {
    var problems = Problems()
    let conversion = Conversion.begin(with: model, checkpoint, isGiven: isGiven, writing: writing, &problems)
    let treatment = problems.collect { () throws(Problem) in try ReductionTreatment(request) }
    let network = problems.collect { () throws(Problem) in
      try Network(
        checkpoint, architectures: run.families, mode: run.mode, residency: .streamed, workers: run.pool)
    }
    var selection: ReductionSelection?
    do throws(Problems) {
      selection = try ReductionSelection(keep: request.keep, only: request.only, takesHead: request.takesHead)
    } catch {
      problems.all += error.all
    }
    guard problems.errors.isEmpty, let conversion, let treatment, let network, let selection else {
      throw Problems(problems.errors.uniqued())
    }
    self.request = request
    self.checkpoint = checkpoint
    self.network = network
    self.conversion = conversion
    families = run.families
    self.treatment = treatment
    needs = treatment.needs
    do throws(Problem) {
      if case .file(let path) = request.source { statistics = try StatisticsFile(at: path) } else { statistics = nil }
      var blocks: [Block]
      (blocks, spills, peakBytes) = try Self.blocks(
        of: network, request, selection, treatment, threads: run.pool.threadCount, memory: run.memory,
        reading: try WeightFile.readingBytes(of: checkpoint.weightFiles, threads: run.pool.threadCount))
      problems.all += Self.pack(&blocks, of: network, request, treatment).gathered()
      let targets = blocks.flatMap(\.targets)
      quantizationConfig =
        request.storage == .packed && problems.errors.isEmpty && !targets.isEmpty
        ? try Self.quantizationConfig(request.layout ?? request.standardLayout, targets, of: network) : nil
      self.blocks = blocks
    } catch {
      problems.add(error)
      throw problems
    }
    let all = problems.collect { () throws(Problem) in
      try network.blocks().indices.map { (index) throws(Problem) in try network.matrices(ofBlock: index) }
    }
    problems.all +=
      (Self.complaints(request, blocks, needs, statistics)
      + BlockReduction.complaints(request, blocks, of: all ?? []) + GlobalPruning.complaints(request)).gathered()
    guard problems.errors.isEmpty else { throw Problems(problems.errors.uniqued()) }
    warnings = (conversion.warnings + network.warnings + problems.warnings).uniqued()
  }

  // MARK: - Parts

  private static func blocks(
    of network: Network, _ request: ReductionRequest, _ selection: ReductionSelection,
    _ treatment: ReductionTreatment, threads: Int, memory: Int, reading: Int
  ) throws(Problem) -> (blocks: [Block], spills: Bool, peak: Int) {
    var taken: Set<ExactString> = []
    let all = try network.blocks()
    var targets: [[ReductionTarget]] = []
    for index in all.indices {
      let matrices = try network.matrices(ofBlock: index).filter { matrix in
        guard BlockReduction.takes(matrix, request.method) else { return false }
        if request.storage == .blocks, request.blockTypes[ExactString(matrix.parameter.name)] == nil { return false }
        if case .allotted(let budgets) = request.goal { return budgets[ExactString(matrix.name)] != nil }
        return true
      }
      targets.append(selection.targets(among: matrices, taken: &taken))
    }
    let solver = targets.map { solverBytes($0, request, treatment, threads: threads) }
    guard case .text(let text, _) = request.source else {
      let fixed = JobRunner.baseBytes + reading + (solver.max() ?? 0)
      try check(fixed, memory)
      return (zip(all, targets).map { Block(name: $0.name, targets: $1, passes: []) }, false, fixed)
    }
    let plan = try CalibrationPlan(
      network, lengths: text.windows.sequences.map(\.count), memory: memory, beside: solver,
      reading: reading, momentLimit: momentLimit(request, treatment.needs))
    let blocks = zip(plan.blocks, targets).map { planned, targets in
      let sites = Set(targets.flatMap(\.matrices).map { ExactString($0.site) })
      let passes = planned.passes.map { $0.filter { sites.contains(ExactString($0.name)) } }.filter { !$0.isEmpty }
      return Block(name: planned.block.name, targets: targets, passes: passes)
    }
    return (blocks, plan.spills, plan.peakBytes)
  }

  /// Finds how codes are written, and what takes factors of columns.
  private static func pack(
    _ blocks: inout [Block], of network: Network, _ request: ReductionRequest, _ treatment: ReductionTreatment
  ) -> [Problem] {
    if request.storage == .blocks { return keepBlocks(&blocks, request) }
    guard request.storage == .packed else { return [] }
    var problems: [Problem] = []
    do throws(Problem) {
      guard let codes = try CodeForm(request) else {
        throw Problem(.reduction, "\(request.method) makes no codes that could be packed")
      }
      let layout = request.layout ?? request.standardLayout
      if layout == .gptq, case .integer(_, false) = codes.grid {
        throw Problem(
          .checkpointPacked, "the layout gptq has no zero point of 0, which codes with zero points need",
          remedy: "Give --format gptq_v2, or quantize symmetrically.")
      }
      var scales = false
      if case .ofMatrices(let method) = treatment { scales = method is any InputScaling }
      if scales, request.goal != .codes {
        throw Problem(.reduction, "\(request.method) only rounds", remedy: "Leave the budget out.")
      }
      for index in blocks.indices {
        blocks[index].targets = blocks[index].targets.map { target in
          var target = target
          do throws(Problem) {
            let packing = try target.packing(codes, in: layout)
            target.packing = packing
            if let (message, remedy) = layout.caution(about: packing.form, isTransposed: packing.isTransposed) {
              problems.append(
                Problem(
                  .checkpointPacked, message, remedy: remedy, tensor: target.parameter.name, severity: .warning))
            }
          } catch { problems.append(error) }
          return target
        }
        if scales { blocks[index].folds = try folds(of: network, block: index, blocks[index].targets) }
      }
    } catch { problems.append(error) }
    return problems
  }

  /// Finds how blocks are kept.
  private static func keepBlocks(_ blocks: inout [Block], _ request: ReductionRequest) -> [Problem] {
    guard request.method == GPTQ.card.name, request.goal == .budget(.sparsity(0)) else {
      return [Problem(.reduction, "only gptq rounds to blocks, and only rounds")]
    }
    var problems: [Problem] = []
    for index in blocks.indices {
      for place in blocks[index].targets.indices {
        let target = blocks[index].targets[place]
        guard let type = request.blockTypes[ExactString(target.parameter.name)] else { continue }
        do throws(Problem) { blocks[index].targets[place].blocks = try target.blocks(of: type) } catch {
          problems.append(error)
        }
      }
    }
    return problems
  }

  private static func check(_ bytes: Int, _ memory: Int) throws(Problem) {
    guard bytes <= memory else {
      throw Problem(
        .memoryCeiling,
        "reducing the largest matrix takes \(ByteCount.text(bytes)), and the ceiling is \(ByteCount.text(memory))",
        remedy: "Raise --memory.")
    }
  }

  /// Bytes that reducing the matrices of a block takes beside the statistics, at most: those of one site at a time, widened,
  /// with what the method takes; the copy of a moment that it works on; rows of errors while they are measured.
  private static func solverBytes(
    _ targets: [ReductionTarget], _ request: ReductionRequest, _ treatment: ReductionTreatment, threads: Int
  ) -> Int {
    var sites: [ExactString: [(outputs: Int, inputs: Int)]] = [:]
    for matrix in targets.flatMap(\.matrices) {
      sites[ExactString(matrix.site), default: []].append((matrix.outputs, matrix.inputs))
    }
    var isKnown = true
    if case .nothing = request.source { isKnown = false }
    let solvers = sites.values.map { shapes in
      let (elements, width) = shapes.reduce((0, 0)) { ($0.0 + $1.outputs * $1.inputs, max($0.1, $1.inputs)) }
      return 4 * elements + (isKnown ? 8 * width * width : 0) + treatment.workingBytes(shapes, threads: threads)
        + 800 * threads * (width + 96)
    }
    // Of a parameter with several matrices all are kept until the last is done.
    let kept = targets.reduce(0) { max($0, ($1.matrices.count > 1 ? 16 : 8) * $1.parameter.elementCount) }
    // Where rows are only sampled for errors, sums are gathered of all of them beside.
    let sums =
      isKnown && treatment.needs != .moment
      ? targets.flatMap(\.matrices).reduce(0) { $0 + SiteAccumulator.byteCount(width: $1.inputs, momentLimit: 0) } : 0
    // A block that is reduced together has its matrices and what is known of their sites in memory together.
    return kept + sums
      + (treatment.blockMethod != nil ? solvers.reduce(0, +) : solvers.max() ?? 0)
  }

  /// Methods that make do with squares along the diagonal of a moment.
  private static let methodsOfSquares: Set<String> = [WhitenedSVD.card.name]

  private static func isMomentCut(
    at matrix: NetworkMatrix, limit: Int, _ file: StatisticsFile?
  ) -> Bool {
    guard let file else { return matrix.inputs > limit }
    let site = file.layout.sites.first { ExactString($0.name) == ExactString(matrix.site) }
    return site.map { $0.moment.blocks.count != 1 } ?? false
  }

  /// What of the request cannot be done with these matrices.
  private static func complaints(
    _ request: ReductionRequest, _ blocks: [Block], _ needs: StatisticsNeed, _ file: StatisticsFile?
  ) -> [Problem] {
    var problems: [Problem] = []
    let targets = blocks.flatMap(\.targets)
    if targets.isEmpty {
      problems.append(
        Problem(
          .reduction, "no matrix is left to reduce",
          remedy: "See `espalier inspect` for names, and --keep and --only for what was chosen."))
    }
    if needs > .nothing, case .nothing = request.source {
      problems.append(
        Problem(
          .reduction, "\(request.method) needs to know what reaches the matrices",
          remedy: "Give --text, or --statistics of `espalier calibrate`."))
    }
    for matrix in targets.flatMap(\.matrices) {
      if matrix.part == .headProjection, ExactString(matrix.name) != ExactString(matrix.parameter.name) {
        problems.append(
          Problem(
            .reduction, "the head is the embedding too, \(matrix.parameter.name), and changes as both",
            tensor: matrix.name, severity: .warning))
      }
      guard let budget = request.budget(of: matrix.name) else { continue }
      if let complaint = budget.complaint(outputs: matrix.outputs, inputs: matrix.inputs) {
        problems.append(
          Problem(.reduction, complaint, remedy: "Leave it out with --keep.", tensor: matrix.name))
      }
      if needs == .moment, !methodsOfSquares.contains(request.method),
        isMomentCut(at: matrix, limit: momentLimit(request, needs), file)
      {
        problems.append(
          Problem(
            .reduction, "\(request.method) needs the whole second moment of its \(matrix.inputs) inputs",
            remedy: "Raise --moment-width, or leave it out with --keep.", tensor: matrix.name))
      }
      if let file, !file.sites.contains(where: { ExactString($0) == ExactString(matrix.site) }), needs > .nothing {
        problems.append(
          Problem(.reduction, "the statistics have nothing of \(matrix.site)", file: file.path, tensor: matrix.name))
      }
    }
    if request.storage == .reduced {
      for target in targets where target.wholeMatrix == nil && request.makesFactors {
        problems.append(
          Problem(
            .reduction, "the parameter holds several matrices, whose factors cannot be stored in its place",
            remedy: "Leave it out with --keep, or give --store dense.", tensor: target.parameter.name))
      }
      for target in targets where target.parameter.shape.count < 2 {
        problems.append(
          Problem(.reduction, "\(target.parameter.shape) is not the shape of a matrix", tensor: target.parameter.name))
      }
    }
    return problems
  }
}

extension ReductionPlan {
  /// Makes sure that statistics from a file are of this model, whose weights are read for it.
  ///
  /// - Throws: `statistics.mismatch`.
  func requireOwnStatistics(_ workers: WorkerPool) throws(Problem) {
    guard let statistics, statistics.record.model != nil else { return }
    try statistics.require(try ModelIdentity(of: checkpoint, workers: workers))
  }
}

extension ReductionRequest {
  /// The budget of a matrix; nil where it has none.
  func budget(of matrix: String) -> MatrixBudget? {
    switch goal {
    case .budget(let budget): budget
    case .allotted(let budgets): budgets[ExactString(matrix)]
    }
  }

  /// The budget of all matrices; nil where each has its own.
  var commonBudget: MatrixBudget? { if case .budget(let budget) = goal { budget } else { nil } }

  var makesFactors: Bool { ReductionMethods.makesFactors(method) }
}

extension [Problem] {
  /// What is the same of several tensors is told once, of the first, with their number.
  func gathered() -> [Problem] {
    var first: [String: Int] = [:]
    var counts: [Int] = []
    var result: [Problem] = []
    for problem in self {
      let text = "\(problem.code.rawValue) \(problem.message) \(problem.context.file ?? "")"
      if problem.context.tensor != nil, let place = first[text] {
        counts[place] += 1
      } else {
        first[text] = result.count
        counts.append(1)
        result.append(problem)
      }
    }
    for (place, count) in counts.enumerated() where count > 1 {
      result[place].message += " (and \(count - 1) other\(count == 2 ? " is" : "s are") like it)"
    }
    return result
  }
}
