import EspalierBasics

/// What the parameters of one model mean: a family's description filled in with the numbers of a config.
public struct ModelDescription: Sendable {
  /// A stack of layers.
  public struct Tower: Sendable, Hashable {
    public let name: String
    public let layerCount: Int
    /// Where the config stores the number of layers, e.g. `["text_config", "num_hidden_layers"]`; nil if it follows
    /// from something else.
    public let layerCountKey: [String]?
    /// The kind of each layer; empty where all layers are alike.
    public let layerKinds: [String]
    /// What a layer can do without, in the family's order: `attention`, `mlp`.
    public let blocks: [String]
    /// The blocks that each layer lacks; empty where every layer has all.
    public let missingBlocks: [[String]]
  }

  /// The name of the family.
  public let architecture: String
  public let towers: [Tower]
  /// All parameters, in the order of the description.
  public let parameters: [ParameterDescription]
  private let positions: [String: Int]

  /// - Throws: `architecture.description` if two parameters have one name.
  init(architecture: String, towers: [Tower], parameters: [ParameterDescription]) throws(Problem) {
    self.architecture = architecture
    self.towers = towers
    self.parameters = parameters
    var positions: [String: Int] = [:]
    for (index, parameter) in parameters.enumerated() {
      guard positions.updateValue(index, forKey: parameter.name) == nil else {
        throw Problem(.architectureDescription, "the family \(architecture) describes `\(parameter.name)` twice")
      }
    }
    for (index, parameter) in parameters.enumerated() {
      for alias in parameter.aliases where positions[alias] == nil { positions[alias] = index }
    }
    self.positions = positions
  }

  /// The parameter stored under `name` in any of its spellings.
  public func parameter(named name: String) -> ParameterDescription? { positions[name].map { parameters[$0] } }

  public func tower(named name: String) -> Tower? { towers.first { $0.name == name } }

  /// How the names in a checkpoint and this description fit.
  public struct Fit: Sendable {
    /// Names of the checkpoint that are described, each with its parameter.
    public var described: [(name: String, parameter: ParameterDescription)] = []
    /// Names of the checkpoint that are not.
    public var unknown: [String] = []
    /// Names under which one parameter is stored a second time.
    public var repeated: [String] = []
    /// Parameters that should be there and are not.
    public var missing: [ParameterDescription] = []
  }

  /// Compares the description with the `names` of a checkpoint.
  ///
  /// What is optional is not missed, nor is what another stored parameter replaces.
  public func fit(names: [String]) -> Fit {
    var fit = Fit()
    var found: Set<String> = []
    for name in names {
      guard let parameter = parameter(named: name) else {
        fit.unknown.append(name)
        continue
      }
      if found.insert(parameter.name).inserted {
        fit.described.append((name, parameter))
      } else {
        fit.repeated.append(name)
      }
    }
    for (_, parameter) in fit.described { found.formUnion(parameter.replaces) }
    fit.missing = parameters.filter { !$0.isOptional && !found.contains($0.name) }
    return fit
  }
}
