public import EspalierBasics

extension Problem.Code {
  public static let checkpointMissing = Problem.Code("checkpoint.missing")
  public static let checkpointFormat = Problem.Code("checkpoint.format")
  public static let checkpointIndex = Problem.Code("checkpoint.index")
  public static let checkpointConfig = Problem.Code("checkpoint.config")
}

/// The parameters of a model, known from headers and read lazily, and what lies around them.
public protocol Checkpoint: Sendable {
  /// The path or name it was opened by, for messages.
  var location: String { get }
  /// `config.json`, or nil for bare weights.
  var config: JSON? { get }
  /// Every parameter, in the order of names.
  var parameters: [Parameter] { get }
  /// The folder with tokenizer files, generation config and licence, or nil for bare weights.
  var folder: String? { get }
  /// Every file that parameters are read from.
  var weightFiles: [String] { get }
  /// Things worth knowing that were found while opening: tensors an index forgets, for instance.
  var warnings: [Problem] { get }
  /// Files of the model's folder that lie inside its weights, by name: the tokenizer of a GGUF file.
  var embeddedFiles: [String: [UInt8]] { get }
}

extension Checkpoint {
  public var embeddedFiles: [String: [UInt8]] { [:] }

  /// Parameters by name.
  public func parametersByName() -> [ExactString: Parameter] {
    Dictionary(parameters.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
  }
}
