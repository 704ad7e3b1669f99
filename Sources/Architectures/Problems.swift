public import EspalierBasics

extension Problem.Code {
  /// The config of a model lacks a key, or has one of a wrong type or an impossible value.
  public static let architectureConfig = Problem.Code("architecture.config")
  /// A family description is malformed.
  public static let architectureDescription = Problem.Code("architecture.description")
  /// A change of sizes or layers cannot be written into the config of this family.
  public static let architectureInverse = Problem.Code("architecture.inverse")
  /// No GGUF file can be written of this family.
  public static let ggufFamily = Problem.Code("gguf.family")
  /// The config of a model says what no GGUF file of its family can say.
  public static let ggufConfig = Problem.Code("gguf.config")
}

extension Problem {
  static func missingKey(_ name: String) -> Problem {
    Problem(.architectureConfig, "the config lacks `\(name)`", remedy: "add the key to config.json")
  }

  /// The same problem of a config that was read from a GGUF file's metadata: there is no config.json to mend.
  public var inGGUFMetadata: Problem {
    guard code == .architectureConfig, remedy != nil else { return self }
    var problem = self
    problem.remedy = "The config is read from the GGUF file's metadata, which do not say it: convert the model again."
    return problem
  }
}
