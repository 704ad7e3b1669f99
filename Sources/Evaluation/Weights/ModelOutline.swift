public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// Where a tensor stands in its model and what it is for.
public struct TensorPlace: Sendable, Hashable {
  /// In the order in which they are listed.
  public enum Section: Sendable, Hashable, Comparable {
    case beforeLayers
    case layer(Int)
    case afterLayers
    /// Of a tensor that no description names and that has no layer's number in its name.
    case elsewhere
  }

  /// The name in the family's description, whatever the spelling in the file.
  public var canonicalName: String
  /// The tower of the description (`text`, `vision`), or `model` where the family is not known.
  public var module: String
  public var section: Section
  /// A role of ``Role``, e.g. `attentionQuery`; nil if no description names the tensor.
  public var role: String?
}

/// A model's tensors sorted into the description of its family, from headers and config alone.
public struct ModelOutline: Sendable {
  /// A parameter that the config ties to another.
  public struct Tie: Sendable, Hashable {
    public var name: String
    /// The parameter whose value it shares.
    public var target: String
    /// Whether the checkpoint stores it all the same.
    public var isStored: Bool
  }

  /// A tensor whose shape is not the one that the config asks for.
  public struct Misfit: Sendable, Hashable {
    public var name: String
    public var expected: [Int]
    public var found: [Int]
  }

  /// The name of the family, or nil if no description fits the config.
  public var family: String?
  /// One for each of the checkpoint's parameters, in their order.
  public var places: [TensorPlace]
  public var ties: [Tie]
  /// Names that the family's description does not know; empty if the family is not known.
  public var unknown: [String]
  /// Names under which a parameter is stored a second time.
  public var repeated: [String]
  /// Parameters that should be there and are not.
  public var missing: [String]
  public var misfits: [Misfit]
  /// What was found while opening, and why the config could not be read in the family's terms.
  public var problems: [Problem]

  /// The module of tensors that no description names.
  static let wholeModel = "model"

  /// - Parameter families: the descriptions to recognise the model by.
  public init(of checkpoint: any Checkpoint, families: [Architecture]) {
    self.init(inferredFrom: checkpoint)
    guard let config = checkpoint.config,
      let known = Architecture.recognise(config: config, among: families)
    else { return }
    do throws(Problem) {
      describe(checkpoint, by: try known.describe(config: config))
    } catch {
      problems.append(error.at(file: checkpoint.folder.map { "\($0)/config.json" }))
    }
  }

  private init(inferredFrom checkpoint: any Checkpoint) {
    family = nil
    places = checkpoint.parameters.map { TensorPlace(inferredFrom: $0.name) }
    ties = []
    unknown = []
    repeated = []
    missing = []
    misfits = []
    problems = checkpoint.warnings
  }

  private mutating func describe(_ checkpoint: any Checkpoint, by description: ModelDescription) {
    let fit = description.fit(names: checkpoint.parameters.map(\.name))
    family = description.architecture
    unknown = fit.unknown
    repeated = fit.repeated
    missing = fit.missing.map(\.name)
    let stored = Set(fit.described.map(\.parameter.name))
    ties = description.parameters.compactMap { parameter in
      parameter.tiedTo.map { Tie(name: parameter.name, target: $0, isStored: stored.contains(parameter.name)) }
    }
    let meanings = Dictionary(
      fit.described.map { (ExactString($0.name), $0.parameter) }, uniquingKeysWith: { first, _ in first })
    // What stands before a layer's number tells which tower a tensor of an unknown name goes with.
    let towers = Dictionary(
      fit.described.compactMap { described in
        TensorPlace.beforeLayer(described.name).map { (ExactString($0), described.parameter.tower) }
      }, uniquingKeysWith: { first, _ in first })
    for (index, parameter) in checkpoint.parameters.enumerated() {
      if let meaning = meanings[ExactString(parameter.name)] {
        places[index] = TensorPlace(meaning)
        if meaning.shape != parameter.shape {
          misfits.append(Misfit(name: parameter.name, expected: meaning.shape, found: parameter.shape))
        }
      } else if let beginning = TensorPlace.beforeLayer(parameter.name), let tower = towers[ExactString(beginning)] {
        places[index].module = tower
      }
    }
  }
}

extension TensorPlace {
  init(_ meaning: ParameterDescription) {
    canonicalName = meaning.name
    module = meaning.tower
    role = meaning.role.description
    section =
      switch meaning.position {
      case .beforeLayers: .beforeLayers
      case .inLayer(let layer): .layer(layer)
      case .afterLayers: .afterLayers
      }
  }

  /// The first number between dots counts layers: `blocks.7.attention.weight`.
  init(inferredFrom name: String) {
    canonicalName = name
    module = ModelOutline.wholeModel
    section = Self.layer(in: name).map { .layer($0.number) } ?? .elsewhere
    role = nil
  }

  /// What stands before the layer's number in a name: `blocks.`.
  static func beforeLayer(_ name: String) -> String? { layer(in: name)?.beginning }

  private static func layer(in name: String) -> (beginning: String, number: Int)? {
    let words = name.split(separator: ".", omittingEmptySubsequences: false)
    guard let position = words.dropLast().firstIndex(where: { !$0.isEmpty && $0.utf8.allSatisfy(\.isDigit) }),
      let number = Int(words[position])
    else { return nil }
    return (words[..<position].map { $0 + "." }.joined(), number)
  }
}

extension UInt8 {
  fileprivate var isDigit: Bool { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(self) }
}
