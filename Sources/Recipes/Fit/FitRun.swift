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
  let pieces: ReductionPieces
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

  init(_ plan: FitPlan, listener: any ProgressListener) throws(Problem) {
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
    let (curves, steps) = try measured(comparesKnobs: comparesKnobs)
    let untouched = try untouched(curves, steps)
    // The choice is the same whether the knobs are compared, for which more layers are measured, or not.
    let joint = Array(steps.prefix(try mostLayers(comparesKnobs: false)))
    let choices = try FitChoice.all(
      curves, joint, within: plan.request.bytes, untouched: Array(untouched.prefix(joint.count + 1)))
    // Of equal ones that with more layers.
    guard let best = choices.min(by: { $0.loss < $1.loss }) else {
      throw Problem(.reduction, "there is nothing to choose from")
    }
    let chosen = Machine.monotonicSeconds
    let made = try make(best, pieces)
    try requireSize(made)
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

  private func measured(comparesKnobs: Bool) throws(Problem) -> (FitCurves, [DepthOrder.Step]) {
    let curves = if let table = plan.table { table.curves } else { try curves() }
    let steps = try layers(most: try mostLayers(comparesKnobs: comparesKnobs), plan.table?.steps)
    if let path = plan.request.savedTable {
      try FileSystem.write(
        FitTable(try plan.measuredFingerprint(), curves, steps).json.bytes() + [UInt8(ascii: "\n")], to: path)
    }
    return (curves, steps)
  }

  func curves() throws(Problem) -> FitCurves {
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

  /// Layers in the order in which they would leave.
  ///
  /// - Parameter known: of a table; taken where there are enough.
  private func layers(most: Int, _ known: [DepthOrder.Step]?) throws(Problem) -> [DepthOrder.Step] {
    guard most > 0, let subject else { return [] }
    if let known, known.count >= most { return known }
    let path = pieces.path(of: "layers.json")
    if FileSystem.isFile(path), let steps = (try? JSON(parsing: try FileSystem.read(path))).flatMap(FitTable.steps),
      steps.count >= most, plan.areLayers(steps)
    {
      return steps
    }
    let steps = try DepthOrder.measure(subject, atMost: most)
    try FileSystem.write(FitTable.json(steps).bytes(), to: path)
    return steps
  }

  /// How many layers may leave: a quarter, or, where they are to suffice alone, as many as that takes.
  private func mostLayers(comparesKnobs: Bool) throws(Problem) -> Int {
    guard plan.request.knobs.contains(.depth), let structure = plan.structure else { return 0 }
    let all = DepthOrder.layerCount(structure.description)
    guard all > 1 else { return 0 }
    guard comparesKnobs || plan.request.knobs == [.depth] else { return plan.mostLayers }
    let share = max(1, plan.bytesBefore - (try bytes(without: [all - 1])))
    return min(all - 1, max(1, all / 4, (plan.bytesBefore - plan.request.bytes + share - 1) / share))
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

  struct Made {
    let checkpoint: any Checkpoint
    let outcomes: [MatrixOutcome]
    let conversion: MergePlan
  }

  /// Makes a choice: what is finished is in the pieces.
  func make(_ choice: FitChoice, _ pieces: ReductionPieces) throws(Problem) -> Made {
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

  private func requireSize(_ made: Made) throws(Problem) {
    let (bytes, most) = (made.conversion.tensorBytes, plan.request.bytes)
    guard bytes > most else { return }
    throw Problem(
      .reduction, "what was chosen takes \(bytes) bytes, more than the \(most) that were asked for",
      remedy: "Ask for a --size that is less by \(bytes - most) bytes.")
  }

  private func reductions(_ choice: FitChoice, of checkpoint: any Checkpoint) throws(Problems) -> FitReductions {
    // Statistics of a file are of the whole model; without layers others are gathered.
    let text = plan.request.text ?? (choice.removed.isEmpty ? nil : plan.request.effects)
    let source: ReductionRequest.Source =
      text.map { .text($0, isSequential: true) } ?? plan.request.statistics.map { .file($0) } ?? .nothing
    // What is kept by its name has no budget; where layers left, it has another name.
    func reductions(
      _ budgets: [[ExactString: MatrixBudget]], of checkpoint: any Checkpoint
    ) throws(Problems) -> FitReductions {
      try FitReductions(
        plan.forms, budgets: budgets, source: source, keep: [], of: plan.model, checkpoint: checkpoint, run: plan.run,
        writing: options)
    }
    var budgets: [[ExactString: MatrixBudget]] = plan.forms.map { _ in [:] }
    let gone = Set(choice.removed.map(\.layer))
    let before = try reductions(budgets, of: plan.checkpoint).targets.filter { target in
      target.matrices[0].layer.map { !gone.contains($0) } ?? true
    }
    // Layers that stay keep their order and what they are made of; only their numbers change.
    let after = try reductions(budgets, of: checkpoint).targets
    guard before.count == after.count, zip(before, after).allSatisfy({ $0.parameter.shape == $1.parameter.shape })
    else {
      throw Problems([Problem(.reduction, "the model without layers has other matrices than the whole one")])
    }
    let renamed = Dictionary(
      zip(before, after).map { (ExactString($0.parameter.name), $1) }, uniquingKeysWith: { first, _ in first })
    for (row, candidate) in choice.rows {
      guard let candidate, let target = renamed[ExactString(row.name)] else { continue }
      let level = plan.forms[candidate.form].levels[candidate.level]
      for matrix in target.matrices { budgets[candidate.form][ExactString(matrix.name)] = level }
    }
    return try reductions(budgets, of: checkpoint)
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
    var pieces: ReductionPieces?
    let outcome: FitReport.Single.Outcome
    do throws(Problem) {
      let own = try ReductionPieces(
        beside: "\(plan.options.output).\(knob.rawValue)", fingerprint: fingerprint, policy: plan.options.policy)
      pieces = own
      let made = try make(best, own)
      try requireSize(made)
      outcome = .made(
        bytes: made.conversion.tensorBytes, foreseen: best.loss, evaluation: try measure(made.checkpoint))
    } catch {
      // It is only there to compare with: the fit is made, and is not lost with it.
      outcome = .failed(error.message)
    }
    try? pieces?.remove()
    return FitReport.Single(knob: knob, outcome: outcome)
  }
}
