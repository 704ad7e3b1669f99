import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierExecution
import EspalierReduction
import EspalierRestructuring
import TestSupport
import Testing

@testable import EspalierRecipes

/// One budget for bits, rank, sparsity and depth, on the family in `Models`.
@Suite struct FitTests {
  private struct Place {
    let place: StepsPlace
    let checkpoint: SafetensorsCheckpoint

    init(_ folder: String) throws {
      place = try StepsPlace(folder)
      checkpoint = try SafetensorsCheckpoint(at: model)
    }

    let model = "\(StepsPlace.models)/base"

    /// What the last six layers have stays as it is, so that little is measured.
    func request(bytes: Int, knobs: Set<FitKnob> = Set(FitKnob.allCases)) throws -> FitRequest {
      var request = FitRequest(bytes: bytes)
      request.knobs = knobs
      request.keep = ["layers\\.[2-7]\\.", "lm_head"]
      let text = try CalibrationText([StepsPlace.text], for: checkpoint, sequences: 2, length: 64, seed: nil)
      (request.text, request.effects) = (text, text)
      return request
    }

    func plan(_ request: FitRequest, resuming: Bool = false) throws -> FitPlan {
      var options = place.options
      options.policy.resume = resuming
      return try FitPlan(request, of: model, checkpoint: checkpoint, run: place.run, writing: options)
    }

    /// The divergence of a model from the original on a text of its own.
    func divergence(of checkpoint: any Checkpoint) throws -> Double {
      let evaluation = ModelEvaluation(
        data: try EvaluationData(texts: [StepsPlace.test]), cut: TextProtocol(.windows(length: 64), limit: 2),
        run: place.run, listener: SilentListener())
      return try DivergenceProbe(from: self.checkpoint, evaluation).divergence(of: checkpoint, named: "model")
    }
  }

  @Test func aFitIsWithinItsSizeAndVerified() throws {
    try withTemporaryFolder { folder in
      let place = try Place(folder)
      var request = try place.request(bytes: 10_500_000)
      request.savedTable = "\(folder)/table.json"
      var measured: Double?
      let report = try FitRun.execute(try place.plan(request), listener: SilentListener()) {
        (made: any Checkpoint) throws(Problem) -> ReductionReport.Evaluation? in
        measured = try? place.divergence(of: made)
        return nil
      }
      #expect(report.bytesAfter <= 10_500_000 && report.bytesAfter > 10_000_000)
      let output = try SafetensorsCheckpoint(at: place.place.output)
      let stored = output.parameters.flatMap { $0.recipe.storedTensors }.reduce(0) { $0 + $1.byteCount }
      // Shapes of packed matrices are kept beside what is read of them.
      #expect(stored <= report.bytesAfter)
      let verified = try Verification.verify(place.place.output, threads: 2, listener: SilentListener())
      #expect(verified.problems.isEmpty)
      #expect(try place.divergence(of: output) == measured)
      let json = try JSON(parsing: try FileSystem.read("\(place.place.output)/report.json"))
      let rows = try #require(json["parameters"]?.array)
      let foreseen = try #require(json["foreseen"]?.number)
      let layers = json["layers_removed"]?.array?.last?["divergence"]?.number ?? 0
      let sum = rows.reduce(layers) { $0 + ($1["foreseen"]?.number ?? .nan) }
      #expect(abs(sum - foreseen) < 1e-9)
      #expect(FileSystem.kind("\(place.place.output).pieces") == nil)

      // What was measured serves another size, as measuring again would.
      var options = place.place.options
      options.output = "\(folder)/other"
      var other = try place.request(bytes: 10_000_000)
      let plan = try FitPlan(
        other, of: place.model, checkpoint: place.checkpoint, run: place.place.run, writing: options)
      _ = try FitRun.execute(plan, listener: SilentListener())
      let wanted = try FileSystem.read("\(folder)/other/model.safetensors")
      try FileSystem.remove("\(folder)/other")
      other.table = "\(folder)/table.json"
      let again = try FitPlan(
        other, of: place.model, checkpoint: place.checkpoint, run: place.place.run, writing: options)
      _ = try FitRun.execute(again, listener: SilentListener())
      #expect(try FileSystem.read("\(folder)/other/model.safetensors") == wanted)
      // But not another text.
      other.effects = try CalibrationText(
        [StepsPlace.test], for: place.checkpoint, sequences: 1, length: 64, seed: nil)
      options.policy.force = true
      let mismatch = problem {
        let plan = try FitPlan(
          other, of: place.model, checkpoint: place.checkpoint, run: place.place.run, writing: options)
        _ = try FitRun.execute(plan, listener: SilentListener())
      }
      #expect(mismatch?.code == .sensitivityMismatch && mismatch?.message.contains("effects") == true)
    }
  }

  /// Codes, factors, zeros and a layer less, in one folder.
  @Test func formsStandBesideEachOther() throws {
    try withTemporaryFolder { folder in
      let place = try Place(folder)
      let plan = try place.plan(try place.request(bytes: 10_000_000))
      let run = try FitRun(plan, listener: SilentListener())
      let curves = try run.curves()
      let rows = curves.rows.filter { $0.layer != 1 }
      let chosen = rows.enumerated().map { number, row -> FitCurves.Candidate? in
        let knob = [FitKnob.bits, .rank, .sparsity][number % 3]
        return row.candidates.last { plan.forms[$0.form].knob == knob }
      }
      #expect(Set(chosen.compactMap { $0.map { plan.forms[$0.form].knob } }) == [.bits, .rank, .sparsity])
      let choice = FitChoice(
        removed: [DepthOrder.Step(layer: 1, divergence: 0.1)], rows: zip(rows, chosen).map { ($0, $1) }, bytes: 0,
        loss: 0.1, certificate: "exact")
      let made = try run.make(choice, run.pieces)
      let saved = rows.indices.reduce(0) { $0 + rows[$1].denseBytes - (chosen[$1]?.bytes ?? rows[$1].denseBytes) }
      let layer = curves.rows.filter { $0.layer == 1 }.reduce(0) { $0 + $1.denseBytes } + 2 * 2 * 256
      #expect(made.conversion.tensorBytes == plan.bytesBefore - layer - saved)
      _ = try MergeRun.execute(made.conversion, listener: SilentListener())
      let output = try SafetensorsCheckpoint(at: place.place.output)
      #expect(output.config?["num_hidden_layers"]?.integer == 7)
      let forms = Set(output.parameters.compactMap { $0.reducedForm?.form.name })
      #expect(forms == ["bitmap", "low_rank"])
      let before = try place.divergence(of: made.checkpoint)
      #expect(try place.divergence(of: output) == before && before > 0)
    }
  }

  @Test func anInterruptedFitGoesOn() throws {
    try withTemporaryFolder { folder in
      let place = try Place(folder)
      let request = try place.request(bytes: 10_500_000, knobs: [.bits, .depth])
      _ = try FitRun.execute(try place.plan(request), listener: SilentListener())
      let wanted = try place.place.weights(place.place.output)
      try FileSystem.remove(place.place.output)
      // Ended when it was about to measure what came of it.
      let stopped = problem {
        _ = try FitRun.execute(try place.plan(request), listener: SilentListener()) {
          (_: any Checkpoint) throws(Problem) -> ReductionReport.Evaluation? in
          throw Problem(.reduction, "stopped")
        }
      }
      #expect(stopped?.message == "stopped")
      #expect(problem { try place.plan(request) }?.code == .outputPartial)
      _ = try FitRun.execute(try place.plan(request, resuming: true), listener: SilentListener())
      #expect(try place.place.weights(place.place.output) == wanted)
    }
  }

  @Test func aKnobThatFailsDoesNotLoseTheFit() throws {
    try withTemporaryFolder { folder in
      let place = try Place(folder)
      let request = try place.request(bytes: 10_500_000, knobs: [.bits, .depth])
      var models = 0
      let report = try FitRun.execute(try place.plan(request), comparesKnobs: true, listener: SilentListener()) {
        (_: any Checkpoint) throws(Problem) -> ReductionReport.Evaluation? in
        models += 1
        if models > 1 { throw Problem(.reduction, "no more") }
        return nil
      }
      #expect(report.singles.count == 2)
      let text = report.markdown
      #expect(text.contains("no more"))
      _ = try SafetensorsCheckpoint(at: place.place.output)
      let left = try FileSystem.list(folder).filter { $0.contains("bits") || $0.contains("depth") }
      #expect(left == [])
    }
  }

  /// Every number of a kept table that a file may have made up is checked before anything is computed with it.
  @Test func aDamagedTableIsRefused() throws {
    try withTemporaryFolder { folder in
      let place = try Place(folder)
      let path = "\(folder)/table.json"
      var request = try place.request(bytes: 12_000_000)
      request.savedTable = path
      _ = try FitRun.execute(try place.plan(request), listener: SilentListener())
      try FileSystem.remove(place.place.output)
      let whole = try FitTable(at: path)
      (request.savedTable, request.table) = (nil, path)
      for (damage, forge) in Self.forgeries {
        var (curves, steps) = (whole.curves, whole.steps)
        forge(&curves.rows, &steps)
        try FileSystem.write(Array(FitTable(whole.measured, curves, steps).json.text().utf8), to: path)
        let refused = problem {
          _ = try FitRun.execute(try place.plan(request), listener: SilentListener())
        }
        #expect(refused?.code == .sensitivityFormat, "\(damage): \(String(describing: refused))")
        #expect(!FileSystem.isFile("\(place.place.output)/config.json"))
      }
    }
  }

  private static let forgeries: [(String, @Sendable (inout [FitCurves.Row], inout [DepthOrder.Step]) -> Void)] = [
    ("a form that there is not", { rows, _ in rows[0].candidates[0].form = 99 }),
    ("a level below all", { rows, _ in rows[0].candidates[0].level = -1 }),
    ("bytes beyond integers", { rows, _ in rows[0].candidates[0].bytes = .max }),
    ("bytes below zero", { rows, _ in rows[0].candidates[0].bytes = -1 }),
    ("another parameter", { rows, _ in rows[0].name += "x" }),
    ("another size", { rows, _ in rows[0].denseBytes = .max }),
    ("a parameter too few", { rows, _ in rows.removeLast() }),
    ("a layer that there is not", { _, steps in steps.append(DepthOrder.Step(layer: 99, divergence: 0)) }),
    (
      "a layer twice",
      { _, steps in steps = [DepthOrder.Step(layer: 1, divergence: 0), DepthOrder.Step(layer: 1, divergence: 0)] }
    ),
  ]

  @Test func whatCannotBeIsSaid() throws {
    try withTemporaryFolder { folder in
      let place = try Place(folder)
      #expect(problem { try place.plan(try place.request(bytes: 20_000_000)) }?.message.contains("no more") == true)
      var request = try place.request(bytes: 10_000_000)
      (request.text, request.effects) = (nil, nil)
      #expect(problem { try place.plan(request) }?.remedy?.contains("--text") == true)
      let small = problem { try place.plan(try place.request(bytes: 5_000_000, knobs: [.bits])) }
      #expect(small?.message.contains("no choice takes less than") == true)
      // What scales take is known once codes are made.
      let least = try place.plan(try place.request(bytes: 12_000_000, knobs: [.bits])).leastBytes
      let tight = problem {
        let plan = try place.plan(try place.request(bytes: least, knobs: [.bits]))
        _ = try FitRun.execute(plan, listener: SilentListener())
      }
      #expect(tight?.message.contains("the least is") == true)
    }
  }

  // MARK: - The choice

  /// Against all choices there are, for random curves.
  @Test func theChoiceIsTheBestThereIs() throws {
    var generator = SeededGenerator(seed: 7)
    for _ in 0..<40 {
      let rows = (0..<5).map { number in
        FitCurves.Row(
          name: "matrix \(number)", layer: number < 4 ? number : nil, denseBytes: 100,
          candidates: (0..<3).map { level in
            FitCurves.Candidate(
              form: 0, level: level, bytes: Int.random(in: 10...90, using: &generator),
              loss: Double.random(in: 0...1, using: &generator))
          })
      }
      let steps = [DepthOrder.Step(layer: 2, divergence: 0.3), DepthOrder.Step(layer: 0, divergence: 0.9)]
      let (untouched, limit) = ([50, 40, 30], Int.random(in: 250...400, using: &generator))
      var best = Double.infinity
      for count in 0...2 {
        let gone = steps.prefix(count).map(\.layer)
        let left = rows.filter { row in row.layer.map { !gone.contains($0) } ?? true }
        var partial = [(bytes: untouched[count], loss: steps.prefix(count).last?.divergence ?? 0)]
        for row in left {
          let own = row.candidates.map { ($0.bytes, $0.loss) } + [(row.denseBytes, 0.0)]
          partial = partial.flatMap { sum in own.map { (sum.bytes + $0.0, sum.loss + $0.1) } }
        }
        best = min(best, partial.filter { $0.bytes <= limit }.map(\.loss).min() ?? .infinity)
      }
      let choices = try FitChoice.all(FitCurves(rows: rows), steps, within: limit, untouched: untouched)
      #expect(choices.allSatisfy { $0.bytes <= limit })
      #expect(abs((choices.map(\.loss).min() ?? .infinity) - best) < 1e-12)
    }
  }
}
