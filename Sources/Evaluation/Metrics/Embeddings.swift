public import EspalierBasics
internal import EspalierNetworks
internal import EspalierNumerics

/// Texts as unit vectors: the mean of the last layer's states over all tokens, special ones included, divided by its
/// length. Sums are float64, in the order of tokens.
public struct Embeddings: Sendable {
  public let vectors: [[Double]]

  /// - Throws: `evaluation.data` for texts the model cannot read; `evaluation.logits` if a state is NaN or infinite or
  ///   a mean is zero; what the model throws.
  public init(of texts: [String], by encoder: EvaluatedEncoder, options: EvaluationOptions) throws(Problem) {
    var sequences: [[Int32]] = []
    for (index, text) in texts.enumerated() {
      do throws(Problem) { sequences.append(try encoder.tokens(text)) } catch {
        throw error.of("text \(index + 1)", file: encoder.name)
      }
    }
    var vectors: [[Double]] = []
    try encoder.run(sequences, groupTokens: options.groupTokens) { (first, group) throws(Problem) in
      let states = try encoder.model.hiddenStates(of: group)
      for index in group.indices {
        guard let vector = Self.pooled(states, states.rows(ofSequence: index)) else {
          throw Problem(
            .evaluationLogits, "the states of text \(first + index + 1) are NaN or infinite, or their mean is zero")
        }
        vectors.append(vector)
      }
    }
    self.vectors = vectors
  }

  /// The scalar product of two of them, from -1 to 1.
  public func cosine(_ i: Int, _ j: Int) -> Double { Self.product(vectors[i], vectors[j]) }

  static func product(_ a: [Double], _ b: [Double]) -> Double {
    var sum = 0.0
    for index in a.indices { sum += a[index] * b[index] }
    return sum
  }

  private static func pooled(_ states: FinalStates, _ rows: Range<Int>) -> [Double]? {
    let values = states.values.floats
    var sum = [Double](repeating: 0, count: states.width)
    for row in rows {
      for column in 0..<states.width { sum[column] += Double(values[row * states.width + column]) }
    }
    let length = product(sum, sum).squareRoot()
    guard length.isFinite, length > 0 else { return nil }
    return sum.map { $0 / length }
  }
}
