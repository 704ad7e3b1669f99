internal import EspalierBasics
internal import EspalierCalibration
public import EspalierCheckpoints
public import EspalierRestructuring

/// What is asked for when a model is brought into the order of another.
public struct AlignmentRequest: Sendable {
  /// The model that sets the order, as the user names it, and opened.
  public var reference: (name: String, checkpoint: any Checkpoint)
  public var options = AlignmentOptions()
  /// Text by which channels are matched by what they do; nil: weights alone tell.
  public var text: CalibrationText?
  /// Whether singular vectors are compared, which takes three decompositions of every matrix.
  public var comparesSingularVectors = true

  public init(to reference: any Checkpoint, named name: String) { self.reference = (name, reference) }

  /// The request in a line, which says everything that the result depends on but the two models.
  public var line: String {
    var words = ["to \(FileSystem.lastComponent(of: reference.name))"]
    words.append(text.map { "by activations on \($0.windows.cut), \($0.windows.tokenCount) tokens" } ?? "by weights")
    words.append("\(options.weighing.rawValue) weighing")
    if !options.keeping.isEmpty { words.append("keeping \(options.keeping.sorted().joined(separator: ", "))") }
    if options.restarts > 0 { words.append("\(options.restarts) restarts, seed \(options.seed)") }
    return "align: " + words.joined(separator: ", ")
  }
}
