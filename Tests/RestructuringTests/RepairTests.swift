import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics
import NetworkTestSupport
import TestSupport
import Testing

@testable import EspalierRestructuring

/// What is left of maps makes up for inputs that left.
@Suite struct RepairTests {
  /// H = [[2, 1], [1, 1]], W = [[3, 4]]: of the inputs the first stays, so W' = 3 + 4 * 1 / (2 + λ).
  @Test func byHand() throws {
    let weight = try Matrix<Double>(rows: 1, columns: 2, elements: [3, 4])
    let moment = try Matrix<Double>(rows: 2, columns: 2, elements: [2, 1, 1, 1])
    let exact = try #require(try LeastSquaresRepair(damp: 0).solve(weight, moment, keeping: [0]))
    #expect(abs(exact.weight[0, 0] - 5) <= 1e-12)
    // W H Wᵀ = 58; without the second input 16 is missed, with the repair 16 - (4 * 1)² / 2 = 8.
    #expect(abs(exact.before - (16.0 / 58).squareRoot()) <= 1e-12)
    #expect(abs(exact.after - (8.0 / 58).squareRoot()) <= 1e-12)
    // λ = 1 * 2.
    let damped = try #require(try LeastSquaresRepair(damp: 1).solve(weight, moment, keeping: [0]))
    #expect(abs(damped.weight[0, 0] - 4) <= 1e-12)
    #expect(damped.after > exact.after && damped.after < damped.before)
  }

  @Test func nothingToGoBy() throws {
    let weight = try Matrix<Double>(rows: 1, columns: 2, elements: [3, 4])
    let silent = try Matrix<Double>(rows: 2, columns: 2, elements: [0, 0, 0, 0])
    #expect(try LeastSquaresRepair().solve(weight, silent, keeping: [0]) == nil)
  }

  /// In every layer channel 3 is twice channel 0: without it the model computes the same once it is repaired.
  @Test(arguments: ["llama_gqa_untied", "gpt2"])
  func dependentInputsAreMadeUpFor(name: String) throws {
    let model = try GoldenModel(Golden(name))
    let groups = UnitGroup.groups(along: "inner", of: model.description, in: model.checkpoint)
    try #require(!groups.isEmpty)
    try withTemporaryFolder { folder in
      let twins = try model.withTwins(of: groups, in: folder)
      // More rows than channels, or others could make up for any.
      var generator = SeededGenerator(seed: 11)
      let sequences = (0..<40).map { _ in (0..<16).map { _ in Int32(3 + generator.next() % 90) } }
      let subject = try TokenSubject(twins, of: model.family, sequences: sequences)
      subject.folder = folder
      var change = StructuralChange()
      for group in groups { change.choices[group.axis.instance] = AxisChoice((0..<group.count).filter { $0 != 3 }) }
      let changed = try RestructuredCheckpoint(twins, of: model.family, change: change)
      let whole = try model.outputs(of: twins)
      let cut = try model.outputs(of: changed)
      let result = try LeastSquaresRepair(damp: 1e-9).repaired(Restructured(changed, steps: []), of: subject)
      let repaired = try model.outputs(of: result.checkpoint)
      #expect(result.steps.count == groups.count)
      for (a, b) in zip(whole, repaired) { #expect(distance(a, b) <= 1e-4, "\(a.name)") }
      #expect(zip(whole, cut).contains { distance($0, $1) > 1e-3 })
      for step in result.steps { #expect(step.figures[0].value > 1e-3 && step.figures[1].value < 1e-4, "\(step.text)") }
    }
  }

  @Test(arguments: ["inner", "heads"])
  func errorsFall(axis: String) throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    try withTemporaryFolder { folder in
      let subject = try TokenSubject(model.checkpoint, of: model.family)
      subject.folder = folder
      let wanted = try parameterCount(model.checkpoint, of: model.family) * 9 / 10
      let cut = try restructured(subject, by: "width", ["axis": .word(axis), "score": .word("magnitude")], to: wanted)
      let result = try LeastSquaresRepair().repaired(cut, of: subject)
      let repairs = result.steps.dropFirst(cut.steps.count)
      #expect(repairs.count == 2)
      for step in repairs {
        #expect(step.figures.map(\.name) == ["error before", "error after"])
        #expect(step.figures[1].value < step.figures[0].value && step.figures[0].value < 1.5, "\(step.text)")
      }
      #expect(try parameterCount(result.checkpoint, of: model.family) <= wanted)
      #expect(problem { try LeastSquaresRepair().repaired(result, of: subject) }?.message.contains("already") == true)
    }
  }

  /// The gated norm before Mamba 2's output sees fewer channels than the statistics tell of.
  @Test func mapsBehindANormThatWasCutStay() throws {
    let model = try GoldenModel(Golden("mamba2"))
    try withTemporaryFolder { folder in
      let subject = try TokenSubject(model.checkpoint, of: model.family)
      subject.folder = folder
      let axes = model.description.axes.filter { $0.name == "headsPerGroup" }
      let changed = try model.changed(
        StructuralChange(choices: Dictionary(uniqueKeysWithValues: axes.map { ($0.instance, AxisChoice([0, 1, 3])) })))
      let result = try LeastSquaresRepair().repaired(Restructured(changed, steps: []), of: subject)
      #expect(
        result.steps.map(\.text)
          == (0..<2).map {
            "backbone.layers.\($0).mixer.out_proj.weight stays as it is: a norm over what left changes what enters it"
          })
      #expect(result.checkpoint is RestructuredCheckpoint)
      // On what the cut norm gives they are repaired.
      let second = try SequentialRepair(damp: 0.01).repaired(
        Restructured(changed, steps: []), from: changed, of: subject)
      #expect(second.steps.count == 2)
      for step in second.steps { #expect(step.figures[1].value < step.figures[0].value, "\(step.text)") }
    }
  }

  /// Rows of experts before and after a change are of other tokens, so only what all tokens reach is solved for again.
  @Test func expertsAreLeftOutOfTheSecondReconstruction() throws {
    let model = try GoldenModel(Golden("mixtral"))
    try withTemporaryFolder { folder in
      let subject = try TokenSubject(model.checkpoint, of: model.family)
      subject.folder = folder
      var change = StructuralChange()
      for axis in model.description.axes where ["expertInner", "keyValueHeads"].contains(axis.name) {
        change.choices[axis.instance] = AxisChoice(Array(0..<axis.size - 1))
      }
      let changed = try model.changed(change)
      let cut = Restructured(changed, steps: [])
      let first = try LeastSquaresRepair().repaired(cut, of: subject)
      #expect(first.steps.count { $0.text.contains("makes up for") } == 2 * (1 + 4))
      let second = try SequentialRepair(damp: 0.01).repaired(cut, from: changed, of: subject)
      let texts = second.steps.map(\.text)
      #expect(texts.count { $0.contains("o_proj") && $0.contains("on what reaches it now") } == 2)
      #expect(texts.count { $0.contains("w2") && $0.contains("the router sends it other tokens") } == 8)
      #expect(texts.count == 10)
      let name = "model.layers.1.block_sparse_moe.experts.2.w2.weight"
      #expect(try second.checkpoint.values(name) == changed.values(name))
    }
  }

  @Test func depthLeavesNothingToRepair() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    let subject = try TokenSubject(model.checkpoint, of: model.family)
    let changed = try model.repeated([0])
    let result = try LeastSquaresRepair().repaired(Restructured(changed, steps: []), of: subject)
    #expect(result.steps.map(\.text) == ["nothing to repair: no map lost inputs within a layer"])
    #expect(result.checkpoint is RestructuredCheckpoint)
  }
}

extension GoldenModel {
  /// The model in which channel 3 of every group has twice what channel 0 gives, stored in a folder.
  fileprivate func withTwins(of groups: [UnitGroup], in folder: String) throws -> SafetensorsCheckpoint {
    let files = FilePool()
    var tensors = try checkpoint.parameters.map {
      TestTensor($0.name, $0.shape, try $0.values(files: files))
    }
    for group in groups {
      for member in group.members where !member.isReader {
        guard let place = tensors.firstIndex(where: { $0.name == member.stored.name }) else { continue }
        // Of a gated pair the gate is the same, and up is twice as large; without a gate both are the same.
        let factor: Float = member.parameter.role.part == .feedForwardUp && group.isGated ? 2 : 1
        tensors[place].values = copied(tensors[place].values, member, factor: factor)
      }
    }
    try TestTensor.write(tensors, to: "\(folder)/model.safetensors")
    try FileSystem.write(try #require(checkpoint.config).bytes(), to: "\(folder)/config.json")
    return try SafetensorsCheckpoint(at: folder)
  }

  private func copied(_ values: [Float], _ member: UnitGroup.Member, factor: Float) -> [Float] {
    var values = values
    let (shape, dimension) = (member.stored.shape, member.dimension)
    let inner = shape[(dimension + 1)...].reduce(1, *)
    for index in values.indices where index / inner % shape[dimension] == 3 {
      values[index] = factor * values[index - 3 * inner]
    }
    return values
  }
}

extension UnitGroup {
  fileprivate var isGated: Bool { members.contains { $0.parameter.role.part == .feedForwardGate } }
}
