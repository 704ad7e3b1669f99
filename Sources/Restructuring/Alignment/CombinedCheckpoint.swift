public import EspalierBasics
public import EspalierCheckpoints

/// A sum of models: every parameter is `Σ weight · parameter`, in float64, rounded once to float32.
public enum CombinedCheckpoint {
  /// - Parameter parts: at least one model, each with its weight.
  /// - Returns: with the config and files of the first.
  /// - Throws: `restructuring` if the models differ in more than values.
  public static func sum(_ parts: [(weight: Double, checkpoint: any Checkpoint)]) throws(Problem) -> any Checkpoint {
    guard let first = parts.first?.checkpoint else { throw Problem(.restructuring, "a sum of no models") }
    for part in parts.dropFirst() { try checkShapes(first, part.checkpoint) }
    let byName = parts.map { ($0.weight, $0.checkpoint.parametersByName()) }
    let sums = first.parameters.map { parameter in
      var sum = parameter
      sum.recipe = .combined(
        byName.compactMap { weight, parameters in
          parameters[ExactString(parameter.name)].map { WeightedRecipe(weight: weight, recipe: $0.recipe) }
        }, constant: 0, shape: parameter.shape)
      return sum
    }
    return OverlaidCheckpoint(first, replacing: sums)
  }

  /// - Throws: `restructuring` if parameters are in only one of the models, or have other shapes.
  public static func checkShapes(_ first: any Checkpoint, _ second: any Checkpoint) throws(Problem) {
    let others = second.parametersByName()
    let names = Set(first.parameters.map { ExactString($0.name) })
    let differing =
      first.parameters.filter { others[ExactString($0.name)]?.shape != $0.shape }
      + second.parameters.filter { !names.contains(ExactString($0.name)) }
    guard let name = differing.first?.name else { return }
    throw Problem(
      .restructuring,
      "the models do not fit number by number: \(differing.count) parameters are in only one of them, or have other shapes",
      remedy: "They must have the same parameters with the same shapes.", file: second.location, tensor: name)
  }
}
