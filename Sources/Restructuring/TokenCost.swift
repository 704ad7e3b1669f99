public import EspalierArchitectures
public import EspalierCheckpoints

/// Numbers of matrices that a token is multiplied with: what decoding reads for every token, and prefill computes, so that
/// the quotient of two models' costs predicts how much faster one is than the other where neither attention over a long
/// context nor anything outside the matrices decides.
public enum TokenCost {
  /// - Returns: nil for models without tokens or with experts, of which a token sees some.
  public static func of(_ checkpoint: any Checkpoint, described description: ModelDescription) -> Int? {
    guard description.parameters.contains(where: { $0.role.part == .embedding }),
      !description.axes.contains(where: { $0.name == "experts" || $0.name.hasSuffix(".experts") })
    else { return nil }
    let sharesEmbedding = description.parameters.contains { $0.role.part == .headProjection && $0.tiedTo != nil }
    return checkpoint.parameters.reduce(0) { sum, parameter in
      guard parameter.shape.count >= 2, let described = description.parameter(named: parameter.name),
        ParameterCount.isCounted(described)
      else { return sum }
      switch described.role.part {
      case .embedding: return sum + (sharesEmbedding ? parameter.elementCount : 0)
      case .positionEmbedding, .typeEmbedding, .relativePosition, .classToken: return sum
      default: return sum + parameter.elementCount
      }
    }
  }
}
