internal import EspalierCheckpoints

/// A model that steps take or make.
struct StepModel: Sendable {
  /// What merges and comparisons call the model so far, and the one that the recipe begins with.
  static let current = "current"
  static let original = "original"

  var name: String
  var checkpoint: any Checkpoint
  /// The model before a change of structure, planned with until what comes of the change is known.
  var isProvisional = false
}

/// The models that a step may refer to.
struct StepModels: Sendable {
  private(set) var original: StepModel?
  /// What the last step that made a model was given.
  private(set) var previous: StepModel?
  private(set) var current: StepModel?

  mutating func advance(to model: StepModel) {
    previous = current
    current = model
    original = original ?? model
  }
}
