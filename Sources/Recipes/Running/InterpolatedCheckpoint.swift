public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNumerics

/// The model on the straight line between two: `(1 - weight) · first + weight · second`, parameter by parameter.
///
/// Nothing is read or written; config, tokenizer and what is no weight are the first model's.
public struct InterpolatedCheckpoint: Checkpoint {
  public let first: any Checkpoint
  public let parameters: [Parameter]
  public let weightFiles: [String]

  public var location: String { first.location }
  public var config: JSON? { first.config }
  public var folder: String? { first.folder }
  public var warnings: [Problem] { first.warnings }
  public var embeddedFiles: [String: [UInt8]] { first.embeddedFiles }

  /// - Throws: `checkpoint.format` if one has a parameter that the other has not, or in another shape.
  public init(_ first: any Checkpoint, _ second: any Checkpoint, weight: Double) throws(Problem) {
    let others = second.parametersByName()
    if let extra = others.keys.filter({ first.parametersByName()[$0] == nil }).min(by: { $0.text < $1.text }) {
      throw Problem(
        .checkpointFormat, "\(first.location) does not have the tensor, so there is no line between the models",
        file: second.location, tensor: extra.text)
    }
    var parameters: [Parameter] = []
    for parameter in first.parameters {
      guard let other = others[ExactString(parameter.name)], other.shape == parameter.shape else {
        throw Problem(
          .checkpointFormat,
          others[ExactString(parameter.name)].map {
            "the shape is \(parameter.shape) in the one model, \($0.shape) in the other"
          } ?? "\(second.location) does not have the tensor, so there is no line between the models",
          file: first.location, tensor: parameter.name)
      }
      var between = parameter
      if parameter.elementType.isFloat {
        between.recipe = .combined(
          [
            WeightedRecipe(weight: 1 - weight, recipe: parameter.recipe),
            WeightedRecipe(weight: weight, recipe: other.recipe),
          ], constant: 0, shape: parameter.shape)
      }
      parameters.append(between)
    }
    self.first = first
    self.parameters = parameters
    weightFiles = first.weightFiles + second.weightFiles.filter { !first.weightFiles.contains($0) }
  }
}
