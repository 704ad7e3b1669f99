import EspalierBasics
import EspalierCheckpoints
import NetworkTestSupport
import TestSupport
import Testing

@testable import EspalierNetworks

/// MiniLM and a fine-tune of it, if `scripts/fetch-models` brought them.
@Suite struct RealEncodersTests {
  static let folder = "\(packageFolder)/Models/fetched"
  static let present = ["minilm", "minilm-sre"].allSatisfy { FileSystem.isFile("\(folder)/\($0)/model.safetensors") }

  /// Six sentences in MiniLM's tokens.
  private let sentences: [[Int32]] = [
    [101, 2129, 2079, 1045, 23818, 1037, 3478, 13970, 5677, 7159, 2229, 17491, 1029, 102],
    [101, 1996, 17491, 8007, 1998, 2442, 2022, 2318, 2153, 1012, 102],
    [101, 1037, 4937, 25126, 2006, 1996, 4010, 3645, 8591, 1012, 102],
    [101, 17368, 8192, 2006, 1996, 7809, 8241, 2003, 2682, 5345, 3867, 1012, 102],
    [101, 1996, 12174, 3189, 3065, 3020, 6599, 1012, 102],
    [101, 9785, 2397, 9407, 9499, 2015, 5045, 2006, 13045, 2698, 1012, 102],
  ]
  private let pairs = [(0, 1), (0, 3), (1, 3), (1, 5), (2, 4), (3, 5)]

  /// Cosines of mean-pooled states as transformers computes them in float32.
  @Test(
    .enabled(if: present, "NOT RUN: the models are not there; run scripts/fetch-models"),
    arguments: [
      ("minilm", [0.72209, -0.00994, 0.09143, 0.18532, -0.02327, 0.17598]),
      ("minilm-sre", [0.82278, 0.45538, 0.63921, 0.73390, 0.19998, 0.68221]),
    ])
  func cosines(model: String, expected: [Double]) throws {
    let path = "\(RealEncodersTests.folder)/\(model)"
    let network = try Network(try SafetensorsCheckpoint(at: path), workers: Golden.workers)
    let outputs = try network.forward(NetworkInputs(tokens: sentences))
    let states = try #require(outputs.first { $0.name == "last_hidden_state" })
    let (length, width) = (states.shape[1], states.shape[2])
    let means = sentences.indices.map { index in
      (0..<width).map { column in
        sentences[index].indices.reduce(0.0) { $0 + Double(states.values[(index * length + $1) * width + column]) }
      }
    }
    func product(_ a: [Double], _ b: [Double]) -> Double { zip(a, b).reduce(0) { $0 + $1.0 * $1.1 } }
    for (pair, value) in zip(pairs, expected) {
      let (a, b) = (means[pair.0], means[pair.1])
      let cosine = product(a, b) / (product(a, a) * product(b, b)).squareRoot()
      #expect(abs(cosine - value) <= 0.6e-5, "\(pair): \(cosine)")
    }
  }
}
