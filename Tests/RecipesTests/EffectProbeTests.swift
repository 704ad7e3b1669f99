import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierExecution
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@testable import EspalierRecipes

/// What one matrix does to a model's predictions.
@Suite struct EffectProbeTests {
  private let path = "\(packageFolder)/Models/expert-arithmetic"

  @Test func effectsAreThoseOfModelsWithOneReducedMatrix() throws {
    try withTemporaryFolder { folder in
      let model = ReducedModel(path: path)
      var request = ReductionRequest(method: "magnitude", goal: .budget(.sparsity(0.5)), source: .nothing)
      request.only = ["layers\\.2\\.mlp\\.(up|down)_proj"]
      let (plan, pool) = try model.plan(request, to: "\(folder)/plan")
      let run = RunOptions(
        mode: .exact, pool: pool, memory: 1 << 30, families: try Architecture.families(with: []))
      let evaluation = ModelEvaluation(
        data: try EvaluationData(texts: ["\(packageFolder)/Models/text/test/arith.txt"]),
        cut: TextProtocol(.windows(length: 64), limit: 2), run: run, listener: SilentListener())
      let levels: [MatrixBudget] = [.sparsity(0), .sparsity(0.3), .sparsity(0.6), .sparsity(0.9)]
      let table = try SensitivityRun.measure(
        plan, levels: levels, effects: try EffectProbe(evaluation, scratch: "\(folder)/t"), workers: pool,
        listener: SilentListener())
      #expect(table.rows.count == 2 && table.standardObjective == .effect)
      for row in table.rows {
        request.only = [row.name.replacing(".", with: "\\.")]
        request.goal = .budget(.sparsity(0.6))
        let output = "\(folder)/\(row.name)"
        try model.reduce(request, to: output)
        let report = try evaluation.compare(
          try SafetensorsCheckpoint(at: output), named: "a", against: try model.checkpoint(), named: "b")
        let kl = try #require(report.metrics.compactMap { $0 as? Divergence }.first).kl.value
        let error = row.levels[2].relativeError
        #expect(kl > 0 && row.effect == kl / (error * error))
      }
      // Nothing is left of what was tried.
      #expect(try FileSystem.list(folder).sorted() == table.rows.map(\.name).sorted())
    }
  }

  @Test func withoutATextThereIsNothingToMeasure() throws {
    let run = RunOptions(
      mode: .exact, pool: WorkerPool(threads: 1), memory: 1 << 30, families: try Architecture.families(with: []))
    let evaluation = ModelEvaluation(
      data: try EvaluationData(), cut: TextProtocol(.windows(length: 64)), run: run, listener: SilentListener())
    #expect(problem { try EffectProbe(evaluation, scratch: "t") }?.code == .reduction)
  }
}
