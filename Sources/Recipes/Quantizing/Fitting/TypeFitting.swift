public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierLinearMaps
internal import EspalierNumerics

/// Finds the types of a model's tensors for a target, by a measured table.
public struct TypeFitting: Sendable {
  public var request: QuantizationRequest
  public var target: TypeFit.Target
  /// Types to choose from.
  public var types: [BlockType] = TypeSensitivityRun.standardTypes
  /// A table that was measured before.
  public var table: TypeSensitivity?
  /// On which text predictions are compared.
  public var evaluation: ModelEvaluation

  /// What was found.
  public struct Outcome: Sendable {
    /// The request with a type for every tensor.
    public var request: QuantizationRequest
    public var table: TypeSensitivity
    public var fit: TypeFit
    /// The divergence of the whole model on the text that effects were measured on; nil for a target in bytes.
    public var measured: Double?
  }

  /// How often a target in divergence is corrected by what is measured, and how near is near enough.
  private static let (corrections, nearness) = (5, 0.95)

  public init(_ request: QuantizationRequest, to target: TypeFit.Target, evaluation: ModelEvaluation) {
    (self.request, self.target, self.evaluation) = (request, target, evaluation)
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
    let plan = try QuantizationPlan(
      request, of: model, checkpoint: checkpoint, families: families, options: options)
    let run = TypeSensitivityRun(
      request, of: model, checkpoint: checkpoint, families: families, options: options, types: types,
      listener: listener)
    if let table {
      do throws(Problem) { try Self.check(table, plan) } catch { throw Problems([error]) }
    }
    let probe: DivergenceProbe?
    do throws(Problem) {
      probe = table == nil || isDivergence ? try DivergenceProbe(from: checkpoint, evaluation) : nil
    } catch { throw Problems([error]) }
    let measured: TypeSensitivity
    if let table {
      measured = table
    } else if let probe {
      measured = try run.measure(probe, record: record(plan))
    } else {
      throw Problems([Problem(.quantizationFit, "there is neither a table nor a text to measure one on")])
    }
    if case .divergence(let limit) = target, let probe { return try smallest(within: limit, measured, probe, run) }
    do throws(Problem) {
      let fit = try TypeFit(measured, to: target)
      return Outcome(request: assigned(fit), table: measured, fit: fit, measured: nil)
    } catch { throw Problems([error]) }
  }

  private var isDivergence: Bool { if case .divergence = target { true } else { false } }

  private func assigned(_ fit: TypeFit) -> QuantizationRequest {
    var request = request
    request.assigned = fit.formats
    return request
  }

  /// All that a table depends on.
  private func record(_ plan: QuantizationPlan) -> JSON {
    [
      "request": .string(request.text), "types": .array(types.map { .string($0.rawValue.uppercased()) }),
      "effects": .string(DivergenceProbe.text(evaluation)),
      "tensors": .string(
        Digest(of: plan.tensors.map { "\($0.name) \($0.shape) \($0.storedBytes)" }.joined(separator: "\n")).description),
    ]
  }

  /// - Throws: `quantize.fit` for a table of other tensors.
  private static func check(_ table: TypeSensitivity, _ plan: QuantizationPlan) throws(Problem) {
    let shapes = Dictionary(
      plan.tensors.map { (ExactString($0.name), $0.shape.reduce(1, *)) }, uniquingKeysWith: { first, _ in first })
    if let other = table.rows.first(where: { shapes[ExactString($0.name)] != $0.numbers }) {
      throw Problem(
        .quantizationFit, "the table has \(other.numbers) numbers in \(other.name), and the model has not",
        remedy: "It is of another model; measure one for this model.")
    }
  }

  /// Sums of effects foresee the order of choices better than the divergence itself, so that the limit on the sum is
  /// corrected by what is measured.
  private func smallest(
    within limit: Double, _ table: TypeSensitivity, _ probe: DivergenceProbe, _ run: TypeSensitivityRun
  ) throws(Problems) -> Outcome {
    var best: Outcome?
    var bound = limit
    for attempt in 0..<Self.corrections {
      let fit: TypeFit
      do throws(Problem) { fit = try TypeFit(table, to: .divergence(bound)) } catch {
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

  /// Removes what measuring left beside the output.
  public static func removeScratch(beside output: String) { TypeSensitivityRun.removeScratch(beside: output) }
}

extension TypeFitting.Outcome {
  /// A line or two.
  var text: String {
    let gap = fit.certificate.error
    let proof = gap == 0 ? "no choice foresees less" : "at most \(gap) above the least"
    let found = measured.map { ", measured \(Decimals.text($0, 5)) with all of them" } ?? ""
    return
      "types for \(ByteCount.text(fit.bytes)): foreseen divergence \(Decimals.text(fit.predicted, 5)) nats a token "
      + "(\(proof))\(found)"
  }

  var json: JSON {
    [
      "bytes": .number(fit.bytes), "predicted_kl": .number(fit.predicted), "gap": .number(fit.certificate.error),
      "gap_is": .string(fit.certificate.kind.rawValue), "measured_kl": measured.map { .number($0) } ?? .null,
      "effects": table.record["effects"] ?? .null,
    ]
  }
}
