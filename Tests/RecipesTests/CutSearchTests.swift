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

/// The search for one matrix that a model is better without the tail of, on a small model that can add.
@Suite struct CutSearchTests {
  private static let model = "\(packageFolder)/Models/expert-arithmetic"
  private static let few = ["layers\\.3\\.mlp\\.(up|down)_proj", "layers\\.3\\.self_attn\\.v_proj"]

  /// The model with noise in the tail of one matrix: what is left of it when it is cut to `rank` is undisturbed but for
  /// what noise there is along those directions.
  private func writeNoisyModel(_ name: String, rank: Int, to folder: String) throws {
    try FileSystem.createFolder(folder)
    for file in try FileSystem.list(Self.model) {
      try FileSystem.write(try FileSystem.read("\(Self.model)/\(file)"), to: "\(folder)/\(file)")
    }
    let tensor = try #require(
      try SafetensorsCheckpoint(at: folder).parametersByName()[ExactString(name)]?.recipe.storedTensors.first)
    let weight = try #require(try matrices(of: Self.model).first { $0.matrix.name == name }?.weight)
    let cut = try SpectralCut(weight)
    var noisy = try cut.weight(rank: rank).matrix
    var generator = SeededGenerator(seed: 5)
    let noise = generator.floats(noisy.elements.count, scale: 0.15)
    for index in noise.indices { noisy.elements[index] += noise[index] }
    var bytes = try FileSystem.read(tensor.file)
    bytes.replaceSubrange(
      tensor.offset..<tensor.offset + tensor.byteCount, with: ElementType.bf16.encoded(noisy.elements))
    try FileSystem.write(bytes, to: tensor.file)
  }

  private func search(
    _ model: String = Self.model, to output: String, only: [String] = Self.few, shares: [Double] = [0.05, 0.25],
    layers: ClosedRange<Int>? = nil, storage: ReductionRequest.Storage = .dense, data: EvaluationData,
    heldOut: EvaluationData? = nil, resume: Bool = false, force: Bool = false
  ) throws -> CutSearch {
    let run = RunOptions(
      mode: .exact, pool: WorkerPool(threads: 2), memory: 1 << 30, families: try Architecture.families(with: []))
    var writing = MergeOptions(output: output)
    (writing.threads, writing.memory) = (2, 1 << 30)
    (writing.policy.resume, writing.policy.force) = (resume, force)
    var request = CutSearchRequest()
    (request.only, request.shares, request.layers, request.storage) = (only, shares, layers, storage)
    func evaluation(_ data: EvaluationData) -> ModelEvaluation {
      ModelEvaluation(
        data: data, cut: TextProtocol(.windows(length: 128), limit: 3), run: run, listener: SilentListener())
    }
    return try CutSearch(
      request, of: model, checkpoint: try SafetensorsCheckpoint(at: model), run: run, writing: writing,
      evaluation: evaluation(data), heldOut: heldOut.map(evaluation))
  }

  private func text(_ name: String = "arith") throws -> EvaluationData {
    try EvaluationData(texts: ["\(packageFolder)/Models/text/test/\(name).txt"])
  }

  private func answers(_ items: Range<Int>) throws -> EvaluationData {
    var data = try EvaluationData(answers: ["\(packageFolder)/Models/text/test/arith_problems.jsonl"])
    data.answers[0].items = Array(data.answers[0].items[items])
    return data
  }

  private func bytes(of parameter: Parameter) throws -> [UInt8] {
    try parameter.recipe.storedTensors.flatMap { tensor in
      try File.reading(tensor.file).read(tensor.byteCount, at: tensor.offset)
    }
  }

  @Test func theDisturbedMatrixIsFoundAndWrittenAsItWasMeasured() throws {
    try withTemporaryFolder { folder in
      let (noisy, output) = ("\(folder)/noisy", "\(folder)/out")
      let disturbed = "model.layers.3.mlp.up_proj.weight"
      try writeNoisyModel(disturbed, rank: 64, to: noisy)
      for storage in [ReductionRequest.Storage.dense, .reduced] {
        let data = try text()
        let heldOut = try text("prose")
        let search = try search(
          noisy, to: output, storage: storage, data: data, heldOut: heldOut, force: storage == .reduced)
        #expect(search.matrixCount == 3 && search.trialCount == 6)
        var heard: [String] = []
        let found = try search.execute(listener: SilentListener()) { heard.append($0.matrix) }
        let best = try #require(found.search.bestTrial)
        #expect(best.matrix == disturbed && best.rank == 64 && best.shape == [768, 256])
        #expect(heard.count == 6 && Set(heard).count == 3 && found.search.improvements >= 1)
        #expect(found.search.ranked.first?.matrix == disturbed)
        #expect(found.search.text().contains("chosen: \(disturbed) to rank 64 of 256"))

        // The output has the score that chose it, to the last bit, and differs in that matrix alone.
        let written = try SafetensorsCheckpoint(at: output)
        let run = RunOptions(
          mode: .exact, pool: WorkerPool(threads: 2), memory: 1 << 30, families: try Architecture.families(with: []))
        let report = try ModelEvaluation(
          data: data, cut: TextProtocol(.windows(length: 128), limit: 3), run: run, listener: SilentListener()
        ).evaluate(written, name: "out")
        let perplexity = try #require(report.metrics.first as? Perplexity)
        #expect(-perplexity.negativeLogLikelihood.value == best.score.value)
        let difference = try #require(best.figure("change"))
        #expect(difference < 0 && best.figure("value") == perplexity.perplexity.value)
        for parameter in try SafetensorsCheckpoint(at: noisy).parameters {
          let other = try #require(written.parametersByName()[ExactString(parameter.name)])
          let isEqual = try bytes(of: parameter) == bytes(of: other)
          #expect(isEqual == (parameter.name != disturbed), "\(parameter.name)")
        }
        let told = try JSON(parsing: try FileSystem.read("\(output)/report.json"))
        #expect(told["evaluation"]?["search"]?["best"]?["matrix"]?.string == disturbed)
        #expect(told["evaluation"]?["results"]?.array?.count == 2)
        #expect(String(decoding: try FileSystem.read("\(output)/REPORT.md"), as: UTF8.self).contains("Held out:"))
        #expect(try FileSystem.list(folder).sorted() == ["noisy", "out"])
      }
    }
  }

  @Test func answersAreComparedItemByItem() throws {
    try withTemporaryFolder { folder in
      let found = try search(
        to: "\(folder)/out", only: ["layers\\.(2|3)\\.mlp\\.down_proj"], shares: [0.01, 0.9], layers: 3...3,
        data: try answers(0..<24)
      ).execute(listener: SilentListener())
      #expect(found.search.trials.count == 2)
      for trial in found.search.trials {
        let (gained, lost) = (try #require(trial.figure("gained")), try #require(trial.figure("lost")))
        let (change, p) = (try #require(trial.figure("change")), try #require(trial.figure("p")))
        #expect(trial.matrix.contains("layers.3.") && abs(change - (gained - lost) / 24) < 1e-12)
        #expect(p > 0 && p <= 1 && trial.score.value == trial.figure("value"))
      }
      // Without nearly all of a matrix sums go wrong.
      let (low, high) = (found.search.trials[0], found.search.trials[1])
      #expect(low.rank == 2 && high.rank == 230 && low.score.value <= high.score.value)
    }
  }

  @Test func whereNothingHelpsNothingIsWritten() throws {
    try withTemporaryFolder { folder in
      let output = "\(folder)/out"
      let found = try search(
        to: output, only: ["layers\\.0\\.mlp\\.down_proj"], shares: [0.004], data: try text()
      ).execute(listener: SilentListener())
      #expect(found.reduction == nil && found.search.bestTrial == nil && found.search.improvements == 0)
      #expect(found.search.text().contains("No cut helps"))
      #expect(found.search.json["best"] == .null)
      // The trials stay for a search over other shares.
      #expect(try FileSystem.list(folder) == ["out.search.jsonl"])
    }
  }

  @Test func trialsAreNotRepeated() throws {
    try withTemporaryFolder { folder in
      let output = "\(folder)/out"
      let matrix = ["layers\\.0\\.mlp\\.down_proj"]
      func run(_ shares: [Double], resume: Bool, _ data: EvaluationData) throws -> [CutTrial] {
        try search(to: output, only: matrix, shares: shares, data: data, resume: resume)
          .execute(listener: SilentListener()).search.trials
      }
      let first = try run([0.004], resume: false, try text())
      // Two shares that are one rank are one trial.
      let second = try run([0.001, 0.004, 0.02], resume: true, try text())
      #expect(first.map(\.isKnown) == [false] && second.map(\.isKnown) == [true, true, false])
      #expect(second.map(\.rank) == [1, 1, 5] && second[1].score == first[0].score)
      #expect(problem { try run([0.004], resume: false, try text()) }?.code == .recipeSearch)
      let other = problem { try run([0.004], resume: true, try text("prose")) }
      #expect(other?.code == .recipeSearch && other?.message.contains("its data is") == true)
    }
  }

  @Test func whatCannotBeSearchedIsRefused() throws {
    try withTemporaryFolder { folder in
      func refusal(
        shares: [Double] = [0.5], layers: ClosedRange<Int>? = nil, _ data: EvaluationData,
        heldOut: EvaluationData? = nil
      ) -> Problem? {
        problem { try search(to: "\(folder)/out", shares: shares, layers: layers, data: data, heldOut: heldOut) }
      }
      let (data, none) = (try text(), try EvaluationData())
      #expect(refusal(shares: [0], data)?.message.contains("must be above 0") == true)
      #expect(refusal(layers: 9...12, data)?.message.contains("no matrix of these layers") == true)
      #expect(refusal(data, heldOut: data)?.message.contains("held-out data are those") == true)
      #expect(refusal(none)?.message.contains("one set of answers or one text") == true)
      #expect(try FileSystem.list(folder).isEmpty)
    }
  }
}
