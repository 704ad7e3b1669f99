internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierRestructuring

/// A model on the straight line between two: every parameter is `(1 - λ) a + λ b`, in float64, rounded once to float32.
enum InterpolatedCheckpoint {
  /// - Parameters:
  ///   - weight: λ: the share of `second`.
  /// - Returns: with the config and tokenizer of `first`; at 0 and 1 the models themselves.
  /// - Throws: everything in which the models differ but in the values, all at once.
  static func between(
    _ first: any Checkpoint, _ second: any Checkpoint, at weight: Double
  ) throws(Problems) -> any Checkpoint {
    let others = second.parametersByName()
    var problems = Problems()
    let parameters = first.parameters.compactMap { parameter -> Parameter? in
      guard let other = others[ExactString(parameter.name)] else {
        problems.add(difference("only \(first.location) has the parameter", parameter))
        return nil
      }
      guard other.shape == parameter.shape else {
        problems.add(difference("the shape is \(parameter.shape) in the one, \(other.shape) in the other", parameter))
        return nil
      }
      var between = parameter
      between.recipe = .combined(
        [
          WeightedRecipe(weight: 1 - weight, recipe: parameter.recipe),
          WeightedRecipe(weight: weight, recipe: other.recipe),
        ], constant: 0, shape: parameter.shape)
      return between
    }
    let names = Set(first.parameters.map { ExactString($0.name) })
    for parameter in second.parameters where !names.contains(ExactString(parameter.name)) {
      problems.add(difference("only \(second.location) has the parameter", parameter))
    }
    guard problems.all.isEmpty else { throw problems }
    if weight == 0 { return first }
    return weight == 1 ? second : OverlaidCheckpoint(first, replacing: parameters)
  }

  private static func difference(_ text: String, _ parameter: Parameter) -> Problem {
    Problem(
      .restructuring, "there is no line between the models: \(text)",
      remedy: "Both must have the same parameters with the same shapes.", tensor: parameter.name)
  }
}
