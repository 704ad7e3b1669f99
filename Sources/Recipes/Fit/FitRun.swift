public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNetworks
internal import EspalierReduction
internal import EspalierRestructuring

/// Carries a fit out: measures what every parameter loses in every form and what layers are worth, chooses, makes the
/// model, measures and writes it.
public struct FitRun {
  public typealias Measure = (any Checkpoint) throws(Problem) -> ReductionReport.Evaluation?

  private let plan: FitPlan
  private let listener: any ProgressListener
  private let pieces: ReductionPieces
  private let subject: PlannedSubject?
  /// The output's options, for plans of what is made on the way: ours is what is there.
  private let options: MergeOptions

  /// - Parameters:
  ///   - comparesKnobs: whether each knob alone is tried at the same size, and measured.
  ///   - measure: compares a model, which is given, with the original.
  /// - Throws: `reduction` if nothing fits; what measuring, methods and writing throw. What is finished stays for
  ///   `--resume`.
  public static func execute(
    _ plan: FitPlan, comparesKnobs: Bool = false, listener: any ProgressListener, measure: Measure? = nil
  ) throws(Problem) -> FitReport {
    let run = try FitRun(plan, listener: listener)
    return try run.execute(comparesKnobs: comparesKnobs, measure)
  }

  private init(_ plan: FitPlan, listener: any ProgressListener) throws(Problem) {
    (self.plan, self.listener) = (plan, listener)
    try plan.reductions.gathering.requireOwnStatistics(plan.run.pool)
    let pieces = try ReductionPieces(
      beside: plan.options.output, fingerprint: try plan.fingerprint(), policy: plan.options.policy)
    self.pieces = pieces
    subject = plan.structure.map { PlannedSubject($0, pieces: pieces, listener: listener) }
    var options = plan.options
    options.policy.resume = true
    self.options = options
  }

  private func execute(comparesKnobs: Bool, _ measure: Measure?) throws(Problem) -> FitReport {
    let began = Machine.monotonicSeconds
    let curves = try measured()
    let steps = try layers(comparesKnobs: comparesKnobs)
    let untouched = try untouched(curves, steps)
    let choices = try FitChoice.all(curves, steps, within: plan.request.bytes, untouched: untouched)
    // Of equal ones that with more layers.
    guard let best = choices.min(by: { $0.loss < $1.loss }) else {
      throw Problem(.reduction, "there is nothing to choose from")
    }
    let chosen = Machine.monotonicSeconds
    let made = try make(best, pieces)
    let reduced = Machine.monotonicSeconds
    let evaluation = try measure?(made.checkpoint)
    var report = FitReport(plan, best, choices, made: made.outcomes, evaluation: evaluation)
    (report.secondsChoosing, report.secondsMaking) = (chosen - began, reduced - chosen)
    if comparesKnobs, let measure {
      for knob in FitKnob.allCases where plan.request.knobs.contains(knob) {
        report.singles.append(try single(knob, curves, steps, untouched, measure))
      }
    }
    var conversion = made.conversion
    report.bytesAfter = conversion.tensorBytes
    conversion.options.policy = plan.options.policy
    conversion.text = plan.summary + "\n"
    conversion.reports = [
      ("report.json", report.json.bytes(pretty: true) + [UInt8(ascii: "\n")]),
      ("REPORT.md", Array(report.markdown.utf8)),
    ]
    report.written = try MergeRun.execute(conversion, listener: listener)
    try pieces.remove()
    return report
  }

  // MARK: - What is known

  private func measured() throws(Problem) -> FitCurves {
    let gathering = plan.reductions.gathering
    let probe: EffectProbe.Measured? =
      if let subject {
        EffectProbe.Measured(
          plan: gathering, scratch: plan.options.output + ".effect", probe: try subject.textProbe())
      } else { nil }
    return try FitMeasuring(
      forms: plan.forms, reductions: plan.reductions, probe: probe, pool: plan.run.pool, listener: listener,
      path: pieces.path(of: "curves.json")
    ).curves()
  }

  /// Layers in the order in which they would leave: a quarter of them, or, where they are to suffice alone, as many as
  /// that takes.
  private func layers(comparesKnobs: Bool) throws(Problem) -> [DepthOrder.Step] {
    guard plan.request.knobs.contains(.depth), let subject else { return [] }
    let path = pieces.path(of: "layers.json")
    if FileSystem.isFile(path), let json = try? JSON(parsing: try FileSystem.read(path)), let list = json.array {
      let steps = list.compactMap { entry -> DepthOrder.Step? in
        guard let layer = entry[0]?.integer, let divergence = entry[1]?.number else { return nil }
        return DepthOrder.Step(layer: layer, divergence: divergence)
      }
      if steps.count == list.count { return steps }
    }
    let all = DepthOrder.layerCount(subject)
    var most = max(1, all / 4)
    if comparesKnobs || plan.request.knobs == [.depth] {
      let withoutOne = try bytes(without: [all - 1])
      let share = max(1, plan.bytesBefore - withoutOne)
      most = max(most, (plan.bytesBefore - plan.request.bytes + share - 1) / share)
    }
    let steps = try DepthOrder.measure(subject, atMost: most)
    let json = JSON.array(steps.map { [.number($0.layer), .number($0.divergence)] })
    try FileSystem.write(json.bytes(), to: path)
    return steps
  }

  /// Bytes of what is in no row, for every number of layers that leave.
  private func untouched(_ curves: FitCurves, _ steps: [DepthOrder.Step]) throws(Problem) -> [Int] {
    try (0...steps.count).map { (count) throws(Problem) in
      let gone = Set(steps.prefix(count).map(\.layer))
      let rows = curves.rows.filter { row in row.layer.map { !gone.contains($0) } ?? true }
      let whole = count == 0 ? plan.bytesBefore : try bytes(without: Array(gone))
      return whole - rows.reduce(0) { $0 + $1.denseBytes }
    }
  }

  private func bytes(without layers: [Int]) throws(Problem) -> Int {
    let checkpoint = try checkpoint(without: layers)
    do throws(Problems) {
      return try Conversion.plan(
        of: plan.model, elementType: nil, options: options, given: [ExactString(plan.model): checkpoint]
      ).tensorBytes
    } catch { throw error.all.first ?? Problem(.reduction, "the model without layers cannot be written") }
  }

  private func checkpoint(without layers: [Int]) throws(Problem) -> any Checkpoint {
    guard !layers.isEmpty, let subject else { return plan.checkpoint }
    return try DepthOrder.checkpoint(subject, without: layers)
  }

  // MARK: - What is made

  private struct Made {
    let checkpoint: any Checkpoint
    let outcomes: [MatrixOutcome]
    let conversion: MergePlan
  }

  /// Makes a choice: what is finished is in the pieces.
  private func make(_ choice: FitChoice, _ pieces: ReductionPieces) throws(Problem) -> Made {
    let checkpoint = try checkpoint(without: choice.removed.map(\.layer))
    let reductions: FitReductions
    do throws(Problems) { reductions = try self.reductions(choice, of: checkpoint) } catch {
      throw error.all.first ?? Problem(.reduction, "the choice cannot be made")
    }
    var reduction = FitReduction(reductions, run: plan.run, pieces: pieces, listener: listener)
    try reduction.reduce()
    return Made(
      checkpoint: OverlaidCheckpoint(checkpoint, replacing: reduction.parameters),
      outcomes: reduction.finished.flatMap(\.outcomes), conversion: try reduction.assembled())
  }

  private func reductions(_ choice: FitChoice, of checkpoint: any Checkpoint) throws(Problems) -> FitReductions {
    // Statistics of a file are of the whole model; without layers others are gathered.
    let text = plan.request.text ?? (choice.removed.isEmpty ? nil : plan.request.effects)
    let source: ReductionRequest.Source =
      text.map { .text($0, isSequential: true) } ?? plan.request.statistics.map { .file($0) } ?? .nothing
    func reductions(_ budgets: [[ExactString: MatrixBudget]]) throws(Problems) -> FitReductions {
      try FitReductions(
        plan.forms, budgets: budgets, source: source, keep: plan.request.keep, of: plan.model, checkpoint: checkpoint,
        run: plan.run, writing: options)
    }
    let targets = try reductions(plan.forms.map { _ in [:] }).targets
    // Layers that stay keep their order and what they are made of; only their numbers change.
    guard targets.count == choice.rows.count,
      zip(targets, choice.rows).allSatisfy({ $0.denseBytes == $1.row.denseBytes })
    else {
      throw Problems([Problem(.reduction, "the model without layers has other matrices than were measured")])
    }
    var budgets: [[ExactString: MatrixBudget]] = plan.forms.map { _ in [:] }
    for (target, chosen) in zip(targets, choice.rows) {
      guard let candidate = chosen.candidate else { continue }
      let level = plan.forms[candidate.form].levels[candidate.level]
      for matrix in target.matrices { budgets[candidate.form][ExactString(matrix.name)] = level }
    }
    return try reductions(budgets)
  }

  // MARK: - One knob alone

  private func single(
    _ knob: FitKnob, _ curves: FitCurves, _ steps: [DepthOrder.Step], _ untouched: [Int], _ measure: Measure
  ) throws(Problem) -> FitReport.Single {
    listener.receive(.note("\(knob.rawValue) alone"))
    let choices: [FitChoice]
    do throws(Problem) {
      choices = try FitChoice.all(
        curves, knob == .depth ? steps : [], within: plan.request.bytes, untouched: untouched,
        allowing: { plan.forms[$0.form].knob == knob })
    } catch { return FitReport.Single(knob: knob, outcome: .unreachable(error.message)) }
    guard let best = choices.min(by: { $0.loss < $1.loss }) else {
      return FitReport.Single(knob: knob, outcome: .unreachable("there is nothing to choose from"))
    }
    var fingerprint = try plan.fingerprint()
    fingerprint["knob"] = .string(knob.rawValue)
    let own = try ReductionPieces(
      beside: "\(plan.options.output).\(knob.rawValue)", fingerprint: fingerprint, policy: plan.options.policy)
    let made = try make(best, own)
    let evaluation = try measure(made.checkpoint)
    try own.remove()
    return FitReport.Single(
      knob: knob, outcome: .made(bytes: best.bytes, foreseen: best.loss, evaluation: evaluation))
  }
}
