internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierRestructuring

/// A model on the straight line between two: every parameter is `(1 - λ) a + λ b`, in float64, rounded once to float32.
enum InterpolatedCheckpoint {
  /// - Parameters:
  ///   - weight: λ: the share of `second`.
  /// - Returns: with the config and tokenizer of `first`; at 0 and 1 the models themselves.
  /// - Throws: `restructuring` if the models differ in more than values.
  static func between(
    _ first: any Checkpoint, _ second: any Checkpoint, at weight: Double
  ) throws(Problem) -> any Checkpoint {
    let others = second.parametersByName()
    let names = Set(first.parameters.map { ExactString($0.name) })
    let differing =
      first.parameters.filter { others[ExactString($0.name)]?.shape != $0.shape }
      + second.parameters.filter { !names.contains(ExactString($0.name)) }
    if let name = differing.first?.name {
      throw Problem(
        .restructuring,
        "there is no line between the models: \(differing.count) parameters are in only one of them, or have other shapes",
        remedy: "Both must have the same parameters with the same shapes.", file: second.location, tensor: name)
    }
    if weight == 0 { return first }
    if weight == 1 { return second }
    let between = first.parameters.compactMap { parameter -> Parameter? in
      guard let other = others[ExactString(parameter.name)] else { return nil }
      var between = parameter
      between.recipe = .combined(
        [
          WeightedRecipe(weight: 1 - weight, recipe: parameter.recipe),
          WeightedRecipe(weight: weight, recipe: other.recipe),
        ], constant: 0, shape: parameter.shape)
      return between
    }
    return OverlaidCheckpoint(first, replacing: between)
  }
}
