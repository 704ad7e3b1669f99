public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierLinearMaps
internal import EspalierNumerics

/// Finds the types of a model's tensors for a target, by a table of what each loses in which type.
public struct TypeFitting: Sendable {
  public var request: QuantizationRequest
  public var target: TypeFit.Target
  /// Types to choose from; nil for all that a table has, or the standard ones if one is measured.
  public var types: [BlockType]?
  /// A table that was measured before.
  public var table: TypeSensitivity?
  /// What losses are foreseen by; a table has its own.
  public var signal = TypeSensitivity.Signal.measured
  /// On which text predictions are compared.
  public var evaluation: ModelEvaluation

  /// What was found.
  public struct Outcome: Sendable {
    /// The request with a type for every tensor.
    public var request: QuantizationRequest
    public var table: TypeSensitivity
    public var fit: TypeFit
    /// The divergence of the whole model on the text of ``TypeFitting/evaluation``; nil before it is measured.
    public var measured: Double?
  }

  /// How often a target in divergence is corrected by what is measured, and how near is near enough.
  private static let (corrections, nearness) = (5, 0.95)

  public init(_ request: QuantizationRequest, to target: TypeFit.Target, evaluation: ModelEvaluation) {
    (self.request, self.target, self.evaluation) = (request, target, evaluation)
  }

  /// Types to choose from, by their names in any case.
  ///
  /// - Throws: `quantize.type` for a name that is none of a type that tensors are measured in.
  public static func types(named names: [String]) throws(Problem) -> [BlockType] {
    var types: [BlockType] = []
    for name in names {
      guard case .blocks(let type)? = WeightFormat.gguf(named: name), type != .mxfp4 else {
        throw Problem(.quantizationType, "\(name) is no quantized type that tensors are measured in")
      }
      types.append(type)
    }
    return types
  }

  /// - Parameters:
  ///   - model: what it was opened by.
  ///   - options: those of the output; `NAME.fit` beside it is written to and removed.
  /// - Throws: every problem of the plan; `quantize.fit` for a target that is not reached, or a table of another model.
  public func find(
    for checkpoint: any Checkpoint, named model: String, families: [Architecture], options: MergeOptions,
    listener: any ProgressListener
  ) throws(Problems) -> Outcome {
    // What stands in the way is told before hours of measuring.
    func plan(_ request: QuantizationRequest) throws(Problems) -> QuantizationPlan {
      try QuantizationPlan(request, of: model, checkpoint: checkpoint, families: families, options: options)
    }
    let first = try plan(request)
    let types = types ?? TypeSensitivityRun.standardTypes
    let run = TypeSensitivityRun(
      request, of: model, checkpoint: checkpoint, families: families, options: options, types: types,
      listener: listener)
    let probe: DivergenceProbe?
    let identity: ModelIdentity
    do throws(Problem) {
      try requireDivergence()
      if table == nil, case .bytes(let bytes) = target { try Self.requireReachable(bytes, first, types, request.rules) }
      identity = try ModelIdentity(of: checkpoint, workers: evaluation.run.pool)
      if let table { try Self.require(identity, of: table) }
      probe =
        table == nil && signal == .measured || isDivergence ? try DivergenceProbe(from: checkpoint, evaluation) : nil
      if probe != nil { try FitScratch(beside: options.output).open(policy: options.policy) }
    } catch { throw Problems([error]) }
    let measured: TypeSensitivity
    if let table {
      measured = table
    } else if signal == .variance {
      do throws(Problem) {
        measured = try VarianceTable(first, types: types, workers: evaluation.run.pool)
          .measure(record: record(first, types, identity))
      } catch { throw Problems([error]) }
    } else if let probe {
      measured = try run.measure(probe, record: record(first, types, identity))
    } else {
      throw Problems([Problem(.quantizationFit, "there is neither a table nor a text to measure one on")])
    }
    let choices: TypeSensitivity
    do throws(Problem) { choices = try restricted(measured, first) } catch { throw Problems([error]) }
    if case .divergence(let limit) = target, let probe {
      return try smallest(within: limit, choices, measured, probe, run)
    }
    // Headers of several parts, and what is said of importance, are known with the types alone.
    var excess = 0
    for _ in 0..<Self.corrections {
      let fit: TypeFit
      do throws(Problem) { fit = try TypeFit(choices, to: target, less: excess) } catch { throw Problems([error]) }
      let found = try plan(assigned(fit))
      let over = fit.excess(of: found.byteCount, bits: found.bitsPerWeight, over: target, numbers: found.numberCount)
      if over <= 0 { return Outcome(request: assigned(fit), table: measured, fit: fit, measured: nil) }
      excess += over
    }
    throw Problems([
      Problem(.quantizationFit, "no choice of types was found that keeps the target", remedy: "Raise the target.")
    ])
  }

  private var isDivergence: Bool { if case .divergence = target { true } else { false } }

  /// - Throws: `quantize.fit` for a target that the signal says nothing of.
  private func requireDivergence() throws(Problem) {
    guard isDivergence, (table?.signal ?? signal) == .variance else { return }
    throw Problem(
      .quantizationFit, "the variance of weights foresees no divergence, which is the target",
      remedy: "Give a size or bits as the target, or measure effects on a text.")
  }

  private func assigned(_ fit: TypeFit) -> QuantizationRequest {
    var request = request
    request.assigned = fit.formats
    return request
  }

  /// All that a table depends on.
  private func record(_ plan: QuantizationPlan, _ types: [BlockType], _ identity: ModelIdentity) -> JSON {
    [
      "model": Self.json(identity), "request": .string(request.text),
      "types": .array(types.map { .string($0.rawValue.uppercased()) }),
      "effects": .string(signal == .variance ? "variance of weights" : DivergenceProbe.text(evaluation)),
    ]
  }

  private static func json(_ identity: ModelIdentity) -> JSON {
    ["weights": .string(identity.weights.description), "config": .string(identity.config.description)]
  }

  /// - Throws: `quantize.fit` for a table that was measured of another model.
  private static func require(_ identity: ModelIdentity, of table: TypeSensitivity) throws(Problem) {
    guard table.record["model"] != json(identity) else { return }
    throw Problem(
      .quantizationFit, "the table was measured of another model, or of this one before it was changed",
      remedy: "Measure one of this model.")
  }

  /// - Throws: `quantize.fit` for a size that is below that of the smallest types.
  private static func requireReachable(
    _ bytes: Int, _ plan: QuantizationPlan, _ types: [BlockType], _ rules: [TensorTypeRule]
  ) throws(Problem) {
    var least = plan.byteCount
    for tensor in plan.tensors where tensor.mayBeQuantized && !rules.contains(where: { $0.matches(tensor.name) }) {
      let row = tensor.shape.last ?? 1
      let sizes = types.filter { row % $0.blockLength == 0 }.map { $0.byteCount(of: tensor.shape.reduce(1, *)) }
      if let smallest = sizes.min() { least += plan.padded(smallest) - plan.padded(tensor.byteCount) }
    }
    guard least > bytes else { return }
    throw Problem(
      .quantizationFit, "with the smallest types the file has \(ByteCount.text(least)), above the target",
      remedy: "Raise the target, or allow smaller types with --types.")
  }

  /// A table as far as it concerns this file: the choices that rules and types leave, with the bytes they take here.
  ///
  /// - Throws: `quantize.fit` for tensors that the model does not have, or that have no choice left.
  private func restricted(_ table: TypeSensitivity, _ plan: QuantizationPlan) throws(Problem) -> TypeSensitivity {
    let tensors = Dictionary(
      plan.tensors.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
    var covered = (bytes: 0, numbers: 0)
    var rows: [TypeSensitivity.Row] = []
    for var row in table.rows {
      guard let tensor = tensors[ExactString(row.name)], tensor.shape.reduce(1, *) == row.numbers, tensor.mayBeQuantized
      else {
        throw Problem(
          .quantizationFit,
          "the table has \(row.numbers) numbers in \(row.name), which the model has not, or not to quantize",
          remedy: "It is of another model; measure one of this model.")
      }
      let isRuled = request.rules.contains { $0.matches(row.name) }
      let width = tensor.shape.last ?? 1
      row.choices = row.choices.filter { choice in
        guard width % choice.format.blockLength == 0 else { return false }
        if isRuled { return choice.format == tensor.choice.format }
        guard let types, case .blocks(let type) = choice.format else { return true }
        return types.contains(type)
      }
      // What a rule gives and nobody measured stays what the rule gives.
      if isRuled, row.choices.isEmpty { continue }
      guard !row.choices.isEmpty else {
        throw Problem(
          .quantizationFit, "the table has none of the types for the tensor", remedy: "Allow others with --types.",
          tensor: row.name)
      }
      for index in row.choices.indices {
        row.choices[index].bytes = plan.padded(row.choices[index].format.byteCount(of: row.numbers))
      }
      covered.bytes += plan.padded(tensor.byteCount)
      covered.numbers += row.numbers
      rows.append(row)
    }
    return TypeSensitivity(
      rows: rows, otherBytes: plan.byteCount - covered.bytes, otherNumbers: plan.numberCount - covered.numbers,
      record: table.record, signal: table.signal)
  }

  /// Sums of effects foresee the order of choices better than the divergence itself, so that the limit on the sum is
  /// corrected by what is measured.
  private func smallest(
    within limit: Double, _ choices: TypeSensitivity, _ table: TypeSensitivity, _ probe: DivergenceProbe,
    _ run: TypeSensitivityRun
  ) throws(Problems) -> Outcome {
    var best: Outcome?
    var bound = limit
    for attempt in 0..<Self.corrections {
      let fit: TypeFit
      do throws(Problem) { fit = try TypeFit(choices, to: .divergence(bound)) } catch {
        if let best { return best }
        throw Problems([error])
      }
      let request = assigned(fit)
      let measured = try self.measured(request, probe, run, attempt)
      if measured <= limit, fit.bytes < best?.fit.bytes ?? .max {
        best = Outcome(request: request, table: table, fit: fit, measured: measured)
      }
      if measured <= limit, measured >= Self.nearness * limit { break }
      guard measured > 0, fit.predicted > 0 else { break }
      bound = limit * fit.predicted / measured * (measured > limit ? Self.nearness : 1)
    }
    guard let best else {
      throw Problems([
        Problem(
          .quantizationFit, "no choice of types was found whose divergence is at most \(limit)",
          remedy: "Raise --max-kl, or allow larger types with --types.")
      ])
    }
    return best
  }

  private func measured(
    _ request: QuantizationRequest, _ probe: DivergenceProbe, _ run: TypeSensitivityRun, _ attempt: Int
  ) throws(Problems) -> Double {
    let plan = try run.plan(request, as: "trial-\(attempt)")
    do throws(Problem) { _ = try QuantizationRun.execute(plan, listener: SilentListener()) } catch {
      throw Problems([error])
    }
    let written = try Architecture.openCheckpoint(at: plan.output, families: evaluation.run.families)
    do throws(Problem) {
      let divergence = try probe.divergence(of: written, named: plan.output)
      try FileSystem.remove(plan.output)
      try FileSystem.remove(QuantizationPlan.reportPath(of: plan.output))
      return divergence
    } catch { throw Problems([error]) }
  }

  /// The divergence of a written file from the model on the text that types were found by, in nats a token.
  public func divergence(of path: String, from checkpoint: any Checkpoint) throws(Problem) -> Double {
    let written: any Checkpoint
    do throws(Problems) {
      written = try Architecture.openCheckpoint(at: path, families: evaluation.run.families)
    } catch { throw error.all.first ?? Problem(.quantizationFit, "the file cannot be opened", file: path) }
    return try DivergenceProbe(from: checkpoint, evaluation).divergence(of: written, named: path)
  }

  /// Removes what measuring left beside the output.
  ///
  /// The output is complete by then: what cannot be removed is only left behind.
  public static func removeScratch(beside output: String) { try? FitScratch(beside: output).remove() }
}

extension TypeFitting.Outcome {
  /// A line or two.
  var text: String {
    let gap = fit.certificate.error
    let proof = gap == 0 ? "no choice foresees less" : "at most \(gap) above the least"
    let foreseen = Decimals.text(fit.predicted, 5)
    let loss =
      switch table.signal {
      case .measured: "foreseen divergence \(foreseen) nats a token"
      case .variance: "foreseen error \(foreseen) of the weights' variance"
      }
    let found =
      measured.map { value in
        let what =
          table.signal == .measured ? "measured \(Decimals.text(value, 5))" : "divergence \(Decimals.text(value, 5))"
        return ", \(what) with all of them"
      } ?? ""
    return "types for \(ByteCount.text(fit.bytes)): \(loss) (\(proof))\(found)"
  }

  var json: JSON {
    let foreseen = JSON.number(fit.predicted)
    return [
      "bytes": .number(fit.bytes), "signal": .string(table.signal.rawValue),
      "predicted_kl": table.signal == .measured ? foreseen : .null,
      "predicted_error": table.signal == .variance ? foreseen : .null, "gap": .number(fit.certificate.error),
      "gap_is": .string(fit.certificate.kind.rawValue), "measured_kl": measured.map { .number($0) } ?? .null,
      "effects": table.record["effects"] ?? .null,
    ]
  }
}
