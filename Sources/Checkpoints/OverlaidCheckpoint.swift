public import EspalierBasics

/// A checkpoint of which some parameters are stored elsewhere: those that were reduced, say.
public struct OverlaidCheckpoint: Checkpoint {
  public let base: any Checkpoint
  /// Names of the parameters that are stored elsewhere.
  public let replaced: Set<ExactString>
  public let parameters: [Parameter]
  public let weightFiles: [String]

  public var location: String { base.location }
  public var config: JSON? { base.config }
  public var folder: String? { base.folder }
  public var warnings: [Problem] { base.warnings }
  public var embeddedFiles: [String: [UInt8]] { base.embeddedFiles }

  /// - Parameter replacements: stand for the parameters of `base` that have their names; others are left out.
  public init(_ base: any Checkpoint, replacing replacements: [Parameter]) {
    self.base = base
    let replaced = Dictionary(replacements.map { (ExactString($0.name), $0) }, uniquingKeysWith: { _, last in last })
    self.replaced = Set(replaced.keys)
    parameters = base.parameters.map { replaced[ExactString($0.name)] ?? $0 }
    var files = base.weightFiles
    for file in replacements.flatMap({ $0.recipe.storedTensors.map(\.file) }) where !files.contains(file) {
      files.append(file)
    }
    weightFiles = files
  }
}
