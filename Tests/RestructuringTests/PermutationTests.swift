import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierRestructuring
import NetworkTestSupport
import TestSupport
import Testing

/// Proof (a): whatever may be permuted can be, and the outputs stay.
@Suite struct PermutationTests {
  @Test(arguments: Golden.names.map(Golden.init))
  func permutingAnAxisLeavesTheOutputs(golden: Golden) throws {
    let model = try GoldenModel(golden)
    let reference = try model.outputs(of: model.checkpoint)
    var tried = 0
    for (name, instances) in model.axes where instances.allSatisfy({ $0.permutation == .free && $0.size > 1 }) {
      var generator = SeededGenerator(seed: UInt64(tried + 1))
      var change = StructuralChange()
      for axis in instances {
        var order = (0..<axis.size).shuffled(using: &generator)
        // The config names the token of padding by its number.
        if axis.isVocabulary, let padding = model.checkpoint.config?["pad_token_id"]?.integer, padding < axis.size {
          order.swapAt(padding, try #require(order.firstIndex(of: padding)))
        }
        change.choices[axis.instance] = AxisChoice(order)
      }
      let order = change.choices[instances[0].instance]?.lists.first ?? []
      var inputs = model.inputs
      if instances[0].isVocabulary {
        // A token's row has moved.
        let places = order.indices.reduce(into: [Int](repeating: 0, count: order.count)) { $0[order[$1]] = $1 }
        func moved(_ tokens: [[Int32]]) -> [[Int32]] { tokens.map { $0.map { Int32(places[Int($0)]) } } }
        inputs.tokens = moved(inputs.tokens)
        inputs.decoderTokens = inputs.decoderTokens.map(moved)
      }
      let permuted: [NetworkOutput]
      do { permuted = try model.outputs(of: try model.changed(change), inputs) } catch {
        Issue.record("\(name): \(error)")
        continue
      }
      tried += 1
      for expected in reference {
        guard let found = permuted.first(where: { $0.name == expected.name }) else {
          Issue.record("\(name): no output \(expected.name)")
          continue
        }
        // What leaves along the axis itself leaves in the new order.
        let wanted = model.leaves(expected, along: name) ? expected.taking(order) : expected
        let difference = distance(wanted, found)
        #expect(difference <= 1e-5, "\(name), \(expected.name)")
      }
    }
    #expect(tried > 0)
  }
}

extension GoldenModel {
  /// Whether the channels of an output are this axis.
  fileprivate func leaves(_ output: NetworkOutput, along axis: String) -> Bool {
    let base = axis.split(separator: ".").last.map(String.init) ?? axis
    let isLogits = output.name.contains("logits")
    switch base {
    case "vocabulary": return isLogits && output.shape.last == axes.first { $0.name == axis }?.instances[0].size
    case "labels": return isLogits
    case "pooled": return output.name.contains("pool")
    case "hidden": return !isLogits && (!output.name.contains("pool") || !axes.contains { $0.name == "pooled" })
    default: return !isLogits && base == channels(of: output)
    }
  }

  /// The axis of a picture's channels: what leaves a stage, or the stem.
  private func channels(of output: NetworkOutput) -> String? {
    let stages = axes.map(\.name).filter { $0.hasPrefix("channels[") }
    switch output.name {
    case "embed": return stages.first
    case let name where name.hasPrefix("layer."): return "channels[\(name.dropFirst(6))]"
    default: return stages.last
    }
  }
}
