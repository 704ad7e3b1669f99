import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import EspalierReduction
import TestSupport
import Testing

@testable import EspalierRecipes

/// FFSplit on whole models, stored as whole neurons beside factors.
@Suite struct SplitReductionTests {
  @Test("What is stored split means what is written out", arguments: ["llama_gqa_untied", "gpt2"])
  func aSplitIsStored(name: String) throws {
    let model = ReducedModel(name: name)
    try withTemporaryFolder { folder in
      var request = model.request("ffsplit", .parameters(0.75), isSequential: false)
      request.parameters = ["heavy": .number(0.25)]
      let dense = try model.reduce(request, to: "\(folder)/dense")
      request.storage = .reduced
      let stored = try model.reduce(request, to: "\(folder)/split")
      #expect(stored.outcomes.map(\.numbers) == dense.outcomes.map(\.numbers))
      let forms = try SafetensorsCheckpoint(at: "\(folder)/split").parameters.compactMap(\.reducedForm)
      #expect(forms.count == stored.outcomes.count)
      for form in forms {
        // Columns of down are neurons; GPT-2 has all matrices turned.
        let isDown = form.name.contains("down_proj") || form.name.contains("mlp.c_proj")
        #expect(form.form == .split(isDown != (name == "gpt2") ? .columns : .rows), "\(form.name)")
        let all = form.rows * form.columns * form.elementType.byteWidth
        #expect(form.parts.reduce(0) { $0 + $1.byteCount } < all)
      }
      for (a, b) in zip(try matrices(of: "\(folder)/dense"), try matrices(of: "\(folder)/split")) {
        let scale = a.weight.elements.reduce(0) { max($0, abs($1)) }
        for (x, y) in zip(a.weight.elements, b.weight.elements) { #expect(abs(x - y) <= 1e-5 * scale) }
      }
      // The network runs on the form as it runs on what is written out.
      let (x, y) = try (logits("\(folder)/dense"), logits("\(folder)/split"))
      #expect(x.count == y.count && !x.isEmpty)
      for (x, y) in zip(x, y) { #expect(abs(x - y) < 1e-3, "\(name)") }
    }
  }

  private func logits(_ path: String) throws -> [Float] {
    let network = try Network(
      try SafetensorsCheckpoint(at: path), residency: .resident, workers: WorkerPool(threads: 2))
    return Array(try #require(try network.forward(.init(tokens: [[1, 5, 9, 2, 7]])).last).values)
  }

  @Test("Where a split takes as much as the matrix it is written out") func aSplitThatSavesNothing() throws {
    let model = ReducedModel(name: "llama_gqa_untied")
    try withTemporaryFolder { folder in
      var request = model.request("ffsplit", .parameters(1))
      request.parameters = ["heavy": .number(0.97), "light": .word("svd")]
      request.storage = .reduced
      let report = try model.reduce(request, to: "\(folder)/out")
      let parameters = try SafetensorsCheckpoint(at: "\(folder)/out").parameters
      for outcome in report.outcomes {
        let parameter = try #require(parameters.first { $0.name == outcome.parameter })
        let neurons = outcome.name.contains("down") ? outcome.inputs : outcome.outputs
        let bytes = outcome.numbers * parameter.elementType.byteWidth + 4 * Int(0.97 * Double(neurons))
        let all = outcome.outputs * outcome.inputs * parameter.elementType.byteWidth
        #expect((parameter.reducedForm != nil) == (bytes < all), "\(outcome.name): \(bytes) of \(all)")
      }
      #expect(parameters.allSatisfy { $0.reducedForm == nil })
    }
  }
}
