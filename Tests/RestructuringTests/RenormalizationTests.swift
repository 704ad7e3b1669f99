import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import NetworkTestSupport
import TestSupport
import Testing

@testable import EspalierRestructuring

/// Scales and shifts that were planted in a model's channels are found by what they do to activations, and undone.
@Suite struct RenormalizationTests {
  private static let sequences: [[Int32]] = (0..<6).map { (row: Int) -> [Int32] in
    (0..<24).map { (place: Int) -> Int32 in
      let mixed: Int = row * 37 + place * place * 11 + place * 5
      return Int32(3 + mixed % 100)
    }
  }

  /// The model with other values of some parameters, written to a folder.
  private func rewritten(
    _ model: GoldenModel, in folder: String, _ change: (_ name: String, _ values: inout [Float], _ shape: [Int]) -> Void
  ) throws -> SafetensorsCheckpoint {
    let files = FilePool()
    let tensors = try model.checkpoint.parameters.map { parameter in
      var values = try parameter.values(files: files)
      change(parameter.name, &values, parameter.shape)
      return TestTensor(parameter.name, parameter.shape, values)
    }
    try TestTensor.write(tensors, to: "\(folder)/model.safetensors")
    try FileSystem.write(try #require(model.checkpoint.config).bytes(), to: "\(folder)/config.json")
    return try SafetensorsCheckpoint(at: folder)
  }

  private func renormalized(
    _ checkpoint: any Checkpoint, like model: GoldenModel, _ mode: Renormalization.Mode, in folder: String
  ) throws -> Renormalization {
    var stored = 0
    return try Renormalization(
      checkpoint, described: model.description,
      like: [(try Network(model.checkpoint, workers: Golden.workers), 1)], sequences: Self.sequences, mode: mode,
      makeNetwork: { (checkpoint) throws(Problem) in try Network(checkpoint, workers: Golden.workers) },
      store: { (parameter, values) throws(Problem) in
        stored += 1
        let path = "\(folder)/new-\(stored).safetensors"
        do {
          try TestTensor.write([TestTensor(parameter.name, parameter.shape, values)], to: path)
          return try SafetensorsCheckpoint(at: path).parameters[0]
        } catch { throw Problem(.fileWrite, "\(error)") }
      })
  }

  private func difference(_ a: any Checkpoint, _ b: any Checkpoint) throws -> Float {
    func logits(_ checkpoint: any Checkpoint) throws -> NetworkOutput {
      let outputs = try Network(checkpoint, workers: Golden.workers).forward(NetworkInputs(tokens: Self.sequences))
      return try #require(outputs.first { $0.name == "logits" })
    }
    return distance(try logits(a), try logits(b))
  }

  /// Norms within layers.
  private static func isNorm(_ name: String) -> Bool {
    let isLast = name.contains("ln_f") || name.contains("final") || name.hasPrefix("model.norm")
    return (name.contains("ln_") || name.contains("norm")) && !isLast
  }

  /// Norms whose scale and shift were changed, channel by channel; of a family without biases the values of attention
  /// too.
  @Test(arguments: ["gpt2", "gpt_neox_sequential", "llama_gqa_untied"])
  func plantedScalesAndShiftsAreUndone(name: String) throws {
    let model = try GoldenModel(Golden(name))
    try withTemporaryFolder { folder in
      var generator = SeededGenerator(seed: 3)
      let planted = try rewritten(model, in: folder) { name, values, shape in
        if Self.isNorm(name), name.hasSuffix("weight") {
          for index in values.indices { values[index] *= Float.random(in: 0.4...2.5, using: &generator) }
        } else if Self.isNorm(name) {
          for index in values.indices { values[index] += Float.random(in: -0.5...0.5, using: &generator) }
        } else if name.hasSuffix("v_proj.weight") {
          for row in 0..<shape[0] {
            let scale = Float.random(in: 0.4...2.5, using: &generator)
            for index in row * shape[1]..<(row + 1) * shape[1] { values[index] *= scale }
          }
        }
      }
      let apart = try difference(planted, model.checkpoint)
      #expect(apart > 1e-2)
      let result = try renormalized(planted, like: model, .both, in: folder)
      let left = try difference(result.checkpoint, model.checkpoint)
      #expect(left <= 2e-4)
      #expect(result.sites.allSatisfy { $0.after <= 1e-4 }, "\(result.sites)")
      let (far, inNorms) = (result.sites.filter { $0.before > 0.1 }, result.sites.filter(\.isInNorm))
      #expect(!far.isEmpty && !inNorms.isEmpty)
      // What enters the head has no bias behind it; where the head is the embedding too, it has no place for scales.
      let inLayers = result.sites.filter { !$0.name.hasSuffix("head") }
      #expect(inLayers.allSatisfy { $0.isShifted == (name != "llama_gqa_untied") }, "\(result.sites)")
      #expect(result.sites.allSatisfy { $0.limited == 0 })
      #expect(result.left == (name == "gpt2" ? ["text/head"] : []))
    }
  }

  /// The two corrections by themselves: each undoes its own kind of change.
  @Test func rescalingAndReshiftingAreApart() throws {
    let model = try GoldenModel(Golden("gpt2"))
    try withTemporaryFolder { folder in
      var generator = SeededGenerator(seed: 8)
      let shifted = try rewritten(model, in: folder) { name, values, _ in
        guard Self.isNorm(name), name.hasSuffix("bias") else { return }
        for index in values.indices { values[index] += Float.random(in: -0.5...0.5, using: &generator) }
      }
      let far = try difference(shifted, model.checkpoint)
      let back = try renormalized(shifted, like: model, .reshift, in: folder)
      let left = try difference(back.checkpoint, model.checkpoint)
      #expect(left <= 2e-4)
      #expect(back.sites.allSatisfy { $0.scales == 1...1 })
      let scaled = try renormalized(shifted, like: model, .rescale, in: folder)
      let stillFar = try difference(scaled.checkpoint, model.checkpoint)
      #expect(stillFar > far / 10)
    }
  }

  /// Without biases nothing can be shifted.
  @Test func aFamilyWithoutBiasesIsNotShifted() throws {
    let model = try GoldenModel(Golden("llama_gqa_untied"))
    try withTemporaryFolder { folder in
      let other = try rewritten(model, in: folder) { name, values, _ in
        if Self.isNorm(name) { for index in values.indices { values[index] *= 1.5 } }
      }
      let found = problem { _ = try renormalized(other, like: model, .reshift, in: folder) }
      #expect(found?.message.hasPrefix("the model has no biases that could take a shift") == true)
      let both = try renormalized(other, like: model, .both, in: folder)
      let shifted = both.sites.filter(\.isShifted)
      #expect(shifted.isEmpty && !both.sites.isEmpty)
    }
  }

  @Test func correctionsOfOneChannel() throws {
    // Mean 2 and deviation 1; wanted are 5 and 3. The second never changes, the third would be scaled by 100.
    let current = ChannelMoments(sums: [4, 4, 0], squares: [10, 8, 0.02], count: 2)
    #expect(current.means == [2, 2, 0] && current.deviations[0] == 1 && current.deviations[1] == 0)
    var target = current
    (target.means, target.deviations) = ([5, 5, 0], [3, 1, 10])
    let both = ChannelCorrection(from: current, to: target, mode: .both, canShift: true)
    #expect(both.scales == [3, 1, 10] && both.shifts == [-1, 3, 0] && both.limited == 2)
    let rescaled = ChannelCorrection(from: current, to: target, mode: .rescale, canShift: true)
    #expect(rescaled.scales == [3, 1, 10] && rescaled.shifts == [-4, 0, 0])
    let reshifted = ChannelCorrection(from: current, to: target, mode: .reshift, canShift: true)
    #expect(reshifted.scales == [1, 1, 1] && reshifted.shifts == [3, 3, 0] && reshifted.limited == 0)
    // Without a shift the nearest: (2, 1) times 2.6 is (5.2, 2.6).
    let unshifted = ChannelCorrection(from: current, to: target, mode: .both, canShift: false)
    #expect(!unshifted.shiftsAnything && unshifted.scales == [2.6, 2.5, 10])
    let half = try #require(ChannelMoments(mixing: [current, target], shares: [0.5, 0.5]))
    #expect(half.means == [3.5, 3.5, 0] && half.deviations[0] == 2)
    #expect(half.distance(from: half) == 0 && current.distance(from: target) > 0.5)
  }
}
