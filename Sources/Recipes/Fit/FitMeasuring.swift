internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierLinearMaps
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierReduction

/// Measures what every parameter loses in every form: all others are as they were.
struct FitMeasuring {
  let forms: [FitForm]
  let reductions: FitReductions
  /// Measures what a matrix does to predictions; nil without text.
  let probe: EffectProbe.Measured?
  let pool: WorkerPool
  let listener: any ProgressListener
  /// Where finished blocks are kept for a resumed run.
  let path: String

  private var gathering: ReductionPlan { reductions.gathering }

  func curves() throws(Problem) -> FitCurves {
    var blocks = kept()
    let last = gathering.blocks.lastIndex { !$0.targets.isEmpty } ?? -1
    guard blocks.count <= last else { return FitCurves(rows: blocks.flatMap { $0 }) }
    let began = Machine.monotonicSeconds
    listener.receive(.began(stage: "measure", totalBytes: gathering.blocks.reduce(0) { $0 + $1.targetedBytes }))
    let statistics = try BlockStatistics(gathering, workers: pool)
    for (index, block) in gathering.blocks.enumerated() where index <= last {
      if index >= blocks.count {
        blocks.append(try rows(of: block, by: statistics))
        let json = JSON.array(blocks.map { .array($0.map(\.json)) })
        try FileSystem.write(json.bytes(), to: path)
      }
      listener.receive(.advanced(bytes: block.targetedBytes))
      if index < last { try statistics.advance() }
    }
    listener.receive(.ended(stage: "measure", seconds: Machine.monotonicSeconds - began))
    return FitCurves(rows: blocks.flatMap { $0 })
  }

  /// Blocks that an earlier run measured; none if what is there cannot be read, or is not of this model.
  private func kept() -> [[FitCurves.Row]] {
    guard FileSystem.isFile(path), let json = try? JSON(parsing: try FileSystem.read(path)), let list = json.array
    else { return [] }
    let blocks = list.map { ($0.array ?? []).map { FitCurves.Row($0) } }
    guard blocks.allSatisfy({ $0.allSatisfy { $0 != nil } }), blocks.count <= gathering.blocks.count else { return [] }
    let known = blocks.map { $0.compactMap(\.self) }
    let areOurs = zip(known, gathering.blocks).allSatisfy { FitCurves(rows: $0).areOf($1.targets, in: forms) }
    return areOurs ? known : []
  }

  // MARK: - One block

  /// What is known of one matrix: bytes and the squared error of every candidate, and the divergence for an error of 1.
  private struct Measured {
    var squares: [Key: (bytes: Int, square: Double)] = [:]
    var effect = 1.0
  }

  private struct Key: Hashable, Comparable {
    let form: Int
    let level: Int
    static func < (a: Key, b: Key) -> Bool { (a.form, a.level) < (b.form, b.level) }
  }

  private func rows(
    of block: ReductionPlan.Block, by statistics: BlockStatistics
  ) throws(Problem) -> [FitCurves.Row] {
    var found: [ExactString: Measured] = [:]
    try statistics.forEachSite(of: block, reaching: block.targets) { (site, known, sample) throws(Problem) in
      let matrices = block.matrices.filter { ExactString($0.site) == ExactString(site) }
      let seen = SiteReduction.Seen(known, sample, width: matrices[0].inputs)
      for (matrix, measured) in zip(matrices, try measure(matrices, seen)) {
        found[ExactString(matrix.name)] = measured
      }
    }
    return try block.targets.map { (target) throws(Problem) in try row(of: target, found) }
  }

  /// The candidates of a parameter: those that all of its matrices have.
  private func row(
    of target: ReductionTarget, _ found: [ExactString: Measured]
  ) throws(Problem) -> FitCurves.Row {
    let own = target.matrices.compactMap { found[ExactString($0.name)] }
    guard let first = own.first, own.count == target.matrices.count else {
      throw Problem(.reduction, "no rows of the parameter's matrices were seen", tensor: target.parameter.name)
    }
    var candidates: [FitCurves.Candidate] = []
    for key in first.squares.keys.sorted() {
      let parts = own.compactMap { $0.squares[key] }
      guard parts.count == own.count,
        let stored = reductions.target(target.parameter.name, form: key.form)
      else { continue }
      let bytes =
        try stored.packing?.byteCount(of: target.parameter.name) ?? parts.reduce(0) { $0 + $1.bytes }
      let loss = zip(own, parts).reduce(0) { $0 + $1.0.effect * $1.1.square }
      // What takes no less is no candidate.
      guard bytes < target.denseBytes, loss.isFinite else { continue }
      candidates.append(FitCurves.Candidate(form: key.form, level: key.level, bytes: bytes, loss: loss))
    }
    return FitCurves.Row(
      name: target.parameter.name, layer: target.matrices[0].layer, denseBytes: target.denseBytes,
      candidates: candidates)
  }

  // MARK: - One site

  private func measure(
    _ matrices: [NetworkMatrix], _ seen: SiteReduction.Seen
  ) throws(Problem) -> [Measured] {
    let weights = try matrices.map { (matrix) throws(Problem) in try gathering.network.weight(of: matrix) }
    var found = matrices.map { _ in Measured() }
    for (number, form) in forms.enumerated() {
      guard let work = work(number) else { continue }
      let taken = matrices.indices.filter {
        reductions.target(matrices[$0].parameter.name, form: number) != nil
      }
      for (place, level) in form.levels.enumerated() {
        let fitting = taken.filter {
          level.complaint(outputs: matrices[$0].outputs, inputs: matrices[$0].inputs) == nil
        }
        guard !fitting.isEmpty else { continue }
        let stored = try work.reduce(
          fitting.map { matrices[$0] }, fitting.map { weights[$0] }, seen, to: fitting.map { _ in level })
        for (index, result) in zip(fitting, stored) {
          let error = try work.error(of: result, weights[index], seen).error
          found[index].squares[Key(form: number, level: place)] = (
            try Self.bytes(of: result, matrices[index]), error * error
          )
        }
      }
    }
    for index in matrices.indices {
      found[index].effect = try effect(of: matrices[index], weights[index], seen, found[index])
    }
    return found
  }

  private func work(_ form: Int) -> SiteReduction? {
    reductions.plans[form].map { SiteReduction(plan: $0, pool: pool) }
  }

  /// Bytes of what is no codes; those of codes are their parameter's.
  private static func bytes(of result: StoredWeight, _ matrix: NetworkMatrix) throws(Problem) -> Int {
    if case .quantized = result.form { return 0 }
    return try StoredForm(result.form, zeros: .unstructured).bytes(
      rows: matrix.outputs, columns: matrix.inputs, elementType: matrix.parameter.elementType)
  }

  /// Errors below this are mostly rounding, and say nothing of what larger ones do.
  private static let leastSquare = 1e-8

  /// The divergence of the model for an error of 1 squared, from the candidate of median error among those that lose
  /// something; 0 if none does, 1 without text.
  private func effect(
    of matrix: NetworkMatrix, _ weight: Matrix<Float>, _ seen: SiteReduction.Seen, _ measured: Measured
  ) throws(Problem) -> Double {
    guard let probe else { return 1 }
    let lossy = measured.squares.filter { $0.value.square > Self.leastSquare }
      .sorted { ($0.value.square, $0.key) < ($1.value.square, $1.key) }
    guard !lossy.isEmpty else { return 0 }
    let (key, median) = lossy[lossy.count / 2]
    guard let work = work(key.form) else { return 0 }
    let stored = try work.reduce([matrix], [weight], seen, to: [forms[key.form].levels[key.level]])
    return try probe.divergence(reducing: matrix, to: stored[0]) / median.square
  }
}
