public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierExecution
internal import EspalierNumerics

extension DeltaMaking {
  /// One way of coding all tensors.
  struct Candidate: Sendable {
    var method: DeltaMethod
    /// What the coded tensors are multiplied by, over what the method gave them.
    var factor: Double
    var tensors: [EncodedDelta]
    /// Mean negative log-likelihood on the texts, nats a token; nil where nothing was run.
    var loss: Double?

    var error: Double { Self.error(tensors) }

    static func error(_ tensors: [EncodedDelta]) -> Double {
      let whole = tensors.reduce(0) { $0 + $1.squaredNorm }
      return whole > 0 ? (tensors.reduce(0) { $0 + $1.squaredError } / whole).squareRoot() : 0
    }

    func multiplied(by factor: Double) -> Candidate {
      var scaled = self
      scaled.factor *= factor
      scaled.tensors = tensors.map { DeltaEncoder.isCoded($0.tensor.shape) ? $0.scaled(by: factor) : $0 }
      return scaled
    }
  }

  /// Codes all tensors, chooses, and writes the file, which appears whole or not at all.
  ///
  /// - Throws: `delta.nothing` if the models are equal; what reading and writing throw. What was finished stays for
  ///   `--resume`.
  public func run(listener: any ProgressListener) throws(Problem) -> DeltaReport {
    let start = Machine.monotonicSeconds
    let coding = try ChangeCoding(
      changes, to: options.output, made: fingerprint, policy: options.policy, threads: options.threads,
      memory: options.memory, isOurs: Self.isOurs, listener: listener)
    defer { coding.pool.stop() }
    let identity = try BaseIdentity(of: base, workers: coding.pool)
    let work = changes.targets.reduce(0) { $0 + 4 * $1.elementCount }
    listener.receive(.began(stage: "encode", totalBytes: methods.count * work))
    var candidates: [Candidate] = []
    for method in methods {
      let tensors = try encode(method, coding)
      guard !tensors.isEmpty else {
        try coding.output.discard()
        throw Problem(.deltaNothing, "\(fineTunedName) and \(baseName) are equal in every parameter")
      }
      candidates.append(Candidate(method: method, factor: 1, tensors: tensors))
    }
    listener.receive(.ended(stage: "encode", seconds: Machine.monotonicSeconds - start))
    let tried = try measured(candidates, path: coding.scratch.path, listener: listener)
    let best = tried.min { ($0.loss ?? $0.error) < ($1.loss ?? $1.error) } ?? candidates[0]
    let report = DeltaReport(making: self, chosen: best, tried: tried, seconds: 0, fileBytes: 0)
    let stored = best.tensors.map(\.tensor)
    try requireReadable(stored)
    let bytes = try coding.finish(
      stored.flatMap(\.parts),
      metadata: DeltaFile.metadata(
        made: report.made, base: identity, baseName: baseName, fineTune: fineTunedName, adapterConfig: adapterConfig,
        tensors: stored))
    return DeltaReport(
      making: self, chosen: best, tried: tried, seconds: Machine.monotonicSeconds - start, fileBytes: bytes)
  }

  /// What is written can be opened on the base.
  private func requireReadable(_ tensors: [DeltaTensor]) throws(Problem) {
    do throws(Problems) {
      _ = try DeltaCheckpoint(base: base, tensors: tensors, adapterConfig: adapterConfig, path: options.output)
    } catch { throw error.all.first { $0.severity == .error } ?? error.all[0] }
  }

  /// What the bytes depend on beside the models.
  private var fingerprint: [(String, JSON)] {
    var members: [(String, JSON)] = [
      ("verb", "delta make"), ("made", options.record), ("values", .string(options.values.rawValue)),
    ]
    if let evaluation {
      let documents = evaluation.data.texts.flatMap(\.documents).map { Digest(of: $0.text).description }
      members += [("texts", .array(documents.map { .string($0) })), ("cut", .string(evaluation.cut.text))]
    }
    return members
  }

  private func encode(_ method: DeltaMethod, _ coding: ChangeCoding) throws(Problem) -> [EncodedDelta] {
    let pool = coding.pool
    let parallel: MatrixProduct.ParallelLoop = { (count, body) throws(Problem) in try pool.forEach(count, body) }
    let encoder = DeltaEncoder(options: options, method: method, scratch: coding.scratch, parallel: parallel)
    return try coding.coded(
      as: method.rawValue, needing: { bytes(of: $0) },
      coding: { (sources) throws(Problem) in try encoder.encode(sources[0]) })
  }

  // MARK: - Choosing

  /// Factors that are tried on texts.
  private func factors(_ method: DeltaMethod) -> [Double] {
    switch method {
    case .ternary where options.alpha == nil: [0.5, 0.75, 1, 1.25, 1.5, 2, 3]
    case .topk: [1, 1.25, 1.5, 2, 3]
    case .darex where options.q == nil:
      // q from 1 down to the density, where the change is unbiased.
      (0...7).map { Elementary.exp(-Elementary.log(options.keptShare) * Double($0) / 7) }
    default: [1]
    }
  }

  private func measured(
    _ candidates: [Candidate], path: String, listener: any ProgressListener
  ) throws(Problem) -> [Candidate] {
    guard let evaluation else { return candidates }
    var tried: [Candidate] = []
    for candidate in candidates {
      for factor in factors(candidate.method) {
        var scaled = candidate.multiplied(by: factor)
        do throws(Problems) {
          let model = try DeltaCheckpoint(
            base: base, tensors: scaled.tensors.map(\.tensor), adapterConfig: adapterConfig, path: path)
          do throws(Problem) {
            let report = try evaluation.evaluate(model, name: fineTunedName)
            let losses = report.metrics.compactMap { ($0 as? Perplexity)?.negativeLogLikelihood.value }
            scaled.loss = losses.reduce(0, +) / Double(max(1, losses.count))
          } catch { throw Problems([error]) }
        } catch { throw error.all.first ?? Problem(.deltaFormat, "the candidate cannot be run") }
        listener.receive(
          .note(
            "\(candidate.method.rawValue) x \(Figures.text(factor)): perplexity "
              + Figures.text(Elementary.exp(scaled.loss ?? 0), significant: 5)))
        tried.append(scaled)
      }
    }
    return tried
  }
}
