internal import EspalierArchitectures
public import EspalierBasics

/// A network whose decoder continues a text of its own while it looks at what its encoder made of another one.
public struct EncoderDecoderModel: Sendable {
  public let network: Network
  public let vocabularySize: Int
  /// The token that every decoder text begins with (`decoder_start_token_id`, else `pad_token_id`).
  public let startToken: Int32

  /// Sections that know nothing of the decoder's text, and those that do, without the heads.
  let encoder: [Plan.Section]
  let decoder: [Plan.Section]

  /// - Throws: `network.input` if the network has no decoder over an encoder, or no head that predicts tokens.
  public init(_ network: Network) throws(Problem) {
    let plan = network.plan
    guard let decoderTokens = plan.slot("decoderTokens"), plan.slot("tokens") != nil,
      let widths = network.headWidths(rows: .decoderTokens),
      let first = network.trunk.firstIndex(where: { $0.steps.contains { $0.inputs.contains(decoderTokens) } })
    else {
      throw Problem(
        .networkInput,
        "a network of the family \(network.program.architecture) with this config does not turn texts into texts")
    }
    self.network = network
    vocabularySize = widths.logits
    startToken = Int32(
      clamping: network.config["decoder_start_token_id"]?.integer ?? network.config["pad_token_id"]?.integer ?? 0)
    encoder = Array(network.trunk[..<first])
    decoder = Array(network.trunk[first...])
  }
}

extension Network {
  /// Whether the network reads a text for a decoder beside its input.
  public var readsDecoderText: Bool { plan.slot("decoderTokens") != nil }
}
