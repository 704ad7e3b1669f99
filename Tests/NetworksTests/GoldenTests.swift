import EspalierBasics
import NetworkTestSupport
import Testing

@testable import EspalierNetworks

/// Every layer's hidden states, pooled states and logits, against transformers in float64.
@Suite struct GoldenTests {
  /// Outputs that are computed from others and no part of a network.
  private let derived: Set<String> = ["mean_pooled", "mean_pooled_normalized"]

  @Test(arguments: Golden.names.map(Golden.init))
  func everyOutputAgrees(golden: Golden) throws {
    let (expected, inputs) = (try golden.expected(), try golden.inputs())
    let outputs = try golden.network().forward(inputs, hiddenStates: true)
    let wanted = expected.names.filter { name in
      !derived.contains(name) && !name.hasPrefix("greedy") && !name.hasSuffix("_ids") && !name.hasSuffix("mask")
        && name != "pixel_values"
    }
    #expect(wanted.filter { name in !outputs.contains { $0.name == name } } == [])
    for name in wanted {
      guard let output = outputs.first(where: { $0.name == name }), let reference = try expected.floats(name) else {
        continue
      }
      #expect(output.shape == reference.shape, "\(name)")
      guard output.shape == reference.shape else { continue }
      let largest = reference.values.reduce(0) { max($0, abs($1)) }
      var worst: Float = 0
      for (index, value) in reference.values.enumerated() where isKept(index, output.shape, inputs, name) {
        let difference = abs(output.values[index] - value)
        worst = difference.isNaN ? .infinity : max(worst, difference)
      }
      #expect(worst <= 1e-4 + 1e-5 * largest, "\(name): \(worst) of \(largest)")
    }
  }

  /// Only what the mask keeps is compared.
  private func isKept(_ index: Int, _ shape: [Int], _ inputs: NetworkInputs, _ name: String) -> Bool {
    guard shape.count == 3, let mask = inputs.mask, !name.hasPrefix("decoder"), shape[1] == mask[0].count else {
      return true
    }
    return mask[index / (shape[1] * shape[2])][index / shape[2] % shape[1]]
  }
}
