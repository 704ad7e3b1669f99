public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierExecution
internal import EspalierMerging
internal import EspalierNumerics
internal import Synchronization

extension AdapterExtraction {
  /// What came of one matrix.
  struct Extracted: Sendable {
    var target: Target
    var rank: Int
    /// Of the factors as they are stored.
    var certificate: Certificate
    var change: Change
    /// Where the factors are in the scratch file.
    fileprivate var offset: Int
  }

  /// Measures what changed, extracts factors of as many matrices at once as threads and memory allow, and writes the
  /// folder, which appears whole or not at all.
  ///
  /// Factors wait in a file beside the output until all ranks are known.
  ///
  /// - Throws: `adapter.nothing` if no matrix changed; what reading, decomposing and writing throw.
  public func run(listener: any ProgressListener) throws(Problem) -> AdapterExtractionReport {
    let start = Machine.monotonicSeconds
    let difference = try ModelDifference(
      from: base, to: fineTuned, families: families,
      options: MeasurementOptions(threads: options.threads, memory: options.memory, listener: listener))
    let changes = Dictionary(
      difference.tensors.map { (ExactString($0.name), $0.change) }, uniquingKeysWith: { first, _ in first })
    let changed = targets.filter { changes[ExactString($0.name)]?.changedCount ?? 0 > 0 }
    if let damaged = targets.first(where: { changes[ExactString($0.name)]?.nonFiniteCount ?? 0 > 0 }) {
      throw Problem(
        .nonFiniteMatrix, "one of the models holds NaN or infinity in the matrix", tensor: damaged.name)
    }
    guard !changed.isEmpty else {
      throw Problem(
        .adapterNothing, "no linear map that was looked at differs between \(fineTunedName) and \(baseName)",
        remedy: difference.total.change.changedCount > 0
          ? "Other parameters do: `espalier diff` lists them." : "The models are equal.")
    }

    let scratchPath = options.output + ".factors"
    guard FileSystem.kind(scratchPath) == nil else {
      throw Problem(
        .outputExists, "there is something where factors are kept while the extraction lasts",
        remedy: "If it is of an interrupted run, remove it.", file: scratchPath)
    }
    try FileSystem.createParents(of: scratchPath)
    let scratch = try File.writing(scratchPath, truncate: true)
    defer { try? FileSystem.remove(scratchPath) }
    let extracted = try extract(changed, changes, into: scratch, listener: listener)
    let left = uncaptured(difference, captured: Set(changed.map { ExactString($0.name) }))
    let report = AdapterExtractionReport(
      extraction: self, matrices: extracted, left: left, total: difference.total.change,
      bytes: try write(extracted, left: left, total: difference.total.change, from: scratchPath),
      seconds: Machine.monotonicSeconds - start)
    return report
  }

  /// What changed and is in no factor.
  private func uncaptured(
    _ difference: ModelDifference, captured: Set<ExactString>
  ) -> [AdapterExtractionReport.Left] {
    let changed = difference.tensors.filter { $0.change.changedCount > 0 && !captured.contains(ExactString($0.name)) }
    return changed.map { tensor in
      AdapterExtractionReport.Left(
        name: tensor.name, reason: reasons[ExactString(tensor.name)] ?? "no linear map",
        squaredNorm: tensor.change.squaredNorm)
    }
      + difference.mismatches.map {
        .init(name: $0.name, reason: "the shape changed from \($0.shapeA) to \($0.shapeB)", squaredNorm: nil)
      } + difference.onlyInB.map { .init(name: $0, reason: "the base has no such parameter", squaredNorm: nil) }
      + difference.onlyInA.map { .init(name: $0, reason: "the fine-tune has no such parameter", squaredNorm: nil) }
  }

  // MARK: - Factors

  private func extract(
    _ targets: [Target], _ changes: [ExactString: Change], into scratch: File, listener: any ProgressListener
  ) throws(Problem) -> [Extracted] {
    let start = Machine.monotonicSeconds
    // The time goes with the decomposition, so progress is counted in elements of matrices, as bytes of float32.
    listener.receive(.began(stage: "extract", totalBytes: targets.reduce(0) { $0 + 4 * $1.base.elementCount }))
    let pool = WorkerPool(threads: options.threads)
    defer { pool.stop() }
    let ledger = MemoryLedger(capacity: max(0, options.memory - fixedBytes))
    let files = FilePool()
    let end = Mutex(0)
    let extracted = try pool.map(targets.count) { (index) throws(Problem) in
      let target = targets[index]
      do throws(Problem) {
        return try ledger.withReservation(of: target.workingBytes) { () throws(Problem) in
          let parallel: MatrixProduct.ParallelLoop = { (count, body) throws(Problem) in try pool.forEach(count, body) }
          let factors = try AdapterFactors(
            of: target.delta(files: files), name: target.name, options: options, parallel: parallel)
          let offset = end.withLock { end in
            defer { end += factors.bytes.count }
            return end
          }
          try scratch.write(factors.bytes, at: offset)
          listener.receive(.advanced(bytes: 4 * target.base.elementCount))
          return Extracted(
            target: target, rank: factors.a.rows, certificate: factors.certificate,
            change: changes[ExactString(target.name)] ?? Change(), offset: offset)
        }
      } catch { throw error.at(tensor: target.name) }
    }
    listener.receive(.ended(stage: "extract", seconds: Machine.monotonicSeconds - start))
    return extracted
  }

  // MARK: - The folder

  private func write(
    _ extracted: [Extracted], left: [AdapterExtractionReport.Left], total: Change, from scratch: String
  ) throws(Problem) -> Int {
    let type = options.elementType
    var requests: [OutputLayout.Request] = []
    var stored: [StoredTensor] = []
    for matrix in extracted {
      var offset = matrix.offset
      for (part, shape) in [
        ("lora_A", [matrix.rank, matrix.target.inputs]), ("lora_B", [matrix.target.outputs, matrix.rank]),
      ] {
        let name = "base_model.model.\(matrix.target.module).\(part).weight"
        let bytes = shape[0] * shape[1] * type.byteWidth
        requests.append(.init(name: name, elementType: type, shape: shape))
        stored.append(
          StoredTensor(name: name, elementType: type, shape: shape, file: scratch, offset: offset, byteCount: bytes))
        offset += bytes
      }
    }
    let layout = OutputLayout(requests, shardBytes: .max, stem: "adapter_model")
    var jobs: [MergeJob] = []
    for (index, tensor) in stored.enumerated() {
      jobs.append(
        try MergeJob(
          outputIndex: index, output: layout.tensors[index],
          inputs: [.init(model: fineTunedName, parameter: Parameter(tensor))], operation: .copy, seed: 0))
    }
    let made: [(String, JSON)] = [
      ("verb", "extract-lora"), ("version", .string(MergeRun.version)), ("base", .string(baseName)),
      ("fine_tune", .string(fineTunedName)), ("rank", options.rank.map { .number($0) } ?? .null),
      ("energy", options.energy.map { .number($0) } ?? .null),
      ("targets", .array(options.targets.map { .string($0) })),
    ]
    let output = try OutputFolder(
      at: options.output, layout: layout, fingerprint: .object(made), policy: options.policy)
    let runner = JobRunner(
      threads: options.threads, memory: options.memory, allowsNonFinite: false, listener: SilentListener())
    _ = try runner.run(jobs, into: output, plan: try runner.plan(jobs, layout: layout, headerBytes: 0))
    // The scratch file is nobody's input.
    let records = output.finishedRecords().map { TensorRecord(tensor: $0.tensor, digest: $0.digest, inputs: []) }
    let report = AdapterExtractionReport(
      extraction: self, matrices: extracted, left: left, total: total, bytes: layout.byteCount, seconds: 0)
    let small: [(name: String, bytes: [UInt8])] = [
      ("adapter_config.json", Array((configuration(extracted).text(pretty: true) + "\n").utf8)),
      ("report.json", Array((report.record.text(pretty: true) + "\n").utf8)),
      ("REPORT.md", Array(report.markdown.utf8)),
    ]
    let manifest = Manifest.json(made: made, layout: layout, records: records, small: small, fileDigests: [:])
    try output.commit(adding: small + [(Manifest.fileName, Array((manifest.text(pretty: true) + "\n").utf8))])
    return layout.byteCount
  }

  /// `adapter_config.json` as PEFT reads it: scale 1, ranks that differ from the most frequent one in patterns.
  private func configuration(_ extracted: [Extracted]) -> JSON {
    var counts: [Int: Int] = [:]
    for matrix in extracted { counts[matrix.rank, default: 0] += 1 }
    let rank = counts.max { ($0.value, $0.key) < ($1.value, $1.key) }?.key ?? 1
    let others: [(String, JSON)] = extracted.filter { $0.rank != rank }.map { ($0.target.module, .number($0.rank)) }
    return [
      "peft_type": "LORA", "task_type": taskType, "base_model_name_or_path": .string(baseName),
      "r": .number(rank), "lora_alpha": .number(rank), "lora_dropout": 0.0, "bias": "none",
      "target_modules": .array(targetModules(extracted.map(\.target.module)).map { .string($0) }),
      "rank_pattern": .object(others), "alpha_pattern": .object(others),
      "fan_in_fan_out": .bool(extracted.contains { $0.target.isTransposed }), "use_rslora": false, "use_dora": false,
      "init_lora_weights": true, "inference_mode": true, "modules_to_save": nil, "layers_to_transform": nil,
      "layers_pattern": nil,
    ]
  }

  private var taskType: JSON {
    let name = base.config?["architectures"]?[0]?.string ?? ""
    let types = [
      ("ForCausalLM", "CAUSAL_LM"), ("LMHeadModel", "CAUSAL_LM"), ("ForSequenceClassification", "SEQ_CLS"),
      ("ForTokenClassification", "TOKEN_CLS"), ("ForQuestionAnswering", "QUESTION_ANS"),
      ("T5ForConditionalGeneration", "SEQ_2_SEQ_LM"),
    ]
    return types.first { name.hasSuffix($0.0) }.map { .string($0.1) } ?? .null
  }

  /// Last components of paths where they name no other module; whole paths otherwise.
  private func targetModules(_ captured: [String]) -> [String] {
    func last(_ path: String) -> String { path.split(separator: ".").last.map(String.init) ?? path }
    let all = Set(captured.map { ExactString($0) })
    let foreign = Set(modules.filter { !all.contains(ExactString($0)) }.map { ExactString(last($0)) })
    var names: [String] = []
    for module in captured {
      let name = foreign.contains(ExactString(last(module))) ? module : last(module)
      if !names.contains(name) { names.append(name) }
    }
    return names
  }
}
