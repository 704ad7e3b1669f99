internal import EspalierArchitectures
public import EspalierBasics
public import EspalierLinearMaps
internal import EspalierNumerics

/// A network that reads a sequence from both sides, as evaluation sees it: states of tokens, logits of classes.
public struct SequenceEncoder: EncoderModel {
  public let network: Network
  public let classNames: [String]
  public let vocabularySize: Int
  public let contextLength: Int?

  public var mode: NumericMode { network.mode }

  /// - Throws: `network.input` if the network reads no tokens, or from left to right only.
  public init(_ network: Network) throws(Problem) {
    guard network.plan.slot("tokens") != nil, network.plan.slot("decoderTokens") == nil, !network.readsForward else {
      throw Problem(
        .networkInput, "a network of the family \(network.program.architecture) with this config is no encoder")
    }
    self.network = network
    let config = network.config
    vocabularySize = config["vocab_size"]?.integer ?? 0
    contextLength = config["max_position_embeddings"]?.integer.flatMap { longest in
      longest > network.positionsBefore ? longest - network.positionsBefore : nil
    }
    classNames =
      network.classCount.map { count in
        (0..<count).map { config["id2label"]?["\($0)"]?.string ?? "LABEL_\($0)" }
      } ?? []
  }

  public func hiddenStates(of sequences: [[Int32]]) throws(Problem) -> FinalStates {
    let states = try output("last_hidden_state", of: sequences)
    guard states.shape.count == 3, states.shape[0] == sequences.count else {
      throw Problem(.networkInput, "the model gives no state for each token")
    }
    let (length, width) = (states.shape[1], states.shape[2])
    var starts = [0]
    for sequence in sequences { starts.append(starts[starts.count - 1] + sequence.count) }
    let values = try AlignedBuffer(count: starts[starts.count - 1] * width, of: Float.self)
    for (index, sequence) in sequences.enumerated() {
      let padded = states.values[index * length * width..<(index * length + sequence.count) * width]
      _ = values.floats[(starts[index] * width)...].update(fromContentsOf: padded)
    }
    return FinalStates(starts: starts, width: width, values: values)
  }

  public func classLogits(of sequences: [[Int32]]) throws(Problem) -> [[Float]] {
    guard !classNames.isEmpty else { throw Problem(.networkInput, "the model has no head for classes") }
    let logits = try output("logits", of: sequences)
    let count = classNames.count
    guard logits.shape == [sequences.count, count] else {
      throw Problem(.networkInput, "the model gives no logits for each sequence")
    }
    return sequences.indices.map { Array(logits.values[$0 * count..<($0 + 1) * count]) }
  }

  private func output(_ name: String, of sequences: [[Int32]]) throws(Problem) -> NetworkOutput {
    let outputs = try network.forward(NetworkInputs(tokens: sequences))
    guard let output = outputs.first(where: { $0.name == name }) else {
      throw Problem(.networkInput, "the model gives no \(name)")
    }
    return output
  }
}

extension Network {
  /// Classes of a head that looks at whole sequences; nil if there is no such head.
  fileprivate var classCount: Int? {
    guard let logits = plan.layout(of: "logits", after: plan.sections), case .sequences = logits.rows else {
      return nil
    }
    return logits.width
  }

  /// Position embeddings that stand before the first token's (RoBERTa counts from padding + 1).
  fileprivate var positionsBefore: Int { program.positionsSkip.map { $0 + 1 } ?? 0 }
}
