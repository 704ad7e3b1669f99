public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// What separates two models, tensor by tensor: the verb `diff`. With a base, how their two updates get along.
///
/// Tensors are matched by their names in the family's description, so spellings may differ.
public struct ModelDifference: Sendable {
  public struct Tensor: Sendable {
    /// The name in the first model.
    public var name: String
    public var place: TensorPlace
    public var shape: [Int]
    public var elementTypeA: ElementType
    public var elementTypeB: ElementType
    public var change: Change
    /// Nil without a base, and where the base has no tensor of this name and shape.
    public var conflict: UpdateConflict?
    /// Of `B - A`; nil unless asked for and the tensor is a matrix of floats. A failure tells why there is none.
    public var spectrum: Result<Spectrum, Problem>?
  }

  /// Some of the tensors taken together.
  public struct Group: Sendable {
    public var name: String
    public var tensorCount: Int
    public var change: Change
    public var conflict: UpdateConflict?
  }

  /// A tensor that both models have, in two shapes: it cannot be compared.
  public struct Mismatch: Sendable, Hashable {
    public var name: String
    public var shapeA: [Int]
    public var shapeB: [Int]
  }

  public let locationA: String
  public let locationB: String
  public let locationBase: String?
  /// The family of each, nil where not known.
  public let familyA: String?
  public let familyB: String?
  /// Tensors of one shape in both, in the order of their names.
  public let tensors: [Tensor]
  public let onlyInA: [String]
  public let onlyInB: [String]
  public let mismatches: [Mismatch]
  /// Compared tensors that the base lacks or has in another shape; empty without a base.
  public let notInBase: [String]
  /// What was found while the models were opened.
  public let problems: [Problem]

  /// Compares the weights of two models. Each is read once, and once more where something changed and for spectra.
  ///
  /// The figures do not depend on threads or memory. Elements are widened to float32 first.
  ///
  /// - Parameters:
  ///   - base: the model that both were made from, to compare their updates.
  ///   - families: the descriptions to recognise the models by.
  /// - Throws: what reading the files throws.
  public init(
    from a: any Checkpoint, to b: any Checkpoint, base: (any Checkpoint)? = nil,
    families: [Architecture] = Architecture.builtIn(), options: MeasurementOptions = MeasurementOptions()
  ) throws(Problem) {
    let (first, second) = (NamedParameters(a, families: families), NamedParameters(b, families: families))
    let third = base.map { NamedParameters($0, families: families) }
    let shared = first.all.compactMap { entry in
      second[entry.place.canonicalName].map { TensorPair(place: entry.place, a: entry.parameter, b: $0.parameter) }
    }
    let pairs = shared.filter { $0.a.shape == $0.b.shape }.map { pair in
      var pair = pair
      pair.base = third?[pair.place.canonicalName].map(\.parameter).flatMap { $0.shape == pair.a.shape ? $0 : nil }
      return pair
    }
    locationA = a.location
    locationB = b.location
    locationBase = base?.location
    familyA = first.outline.family
    familyB = second.outline.family
    onlyInA = first.all.filter { second[$0.place.canonicalName] == nil }.map(\.parameter.name)
    onlyInB = second.all.filter { first[$0.place.canonicalName] == nil }.map(\.parameter.name)
    mismatches = shared.filter { $0.a.shape != $0.b.shape }.map {
      Mismatch(name: $0.a.name, shapeA: $0.a.shape, shapeB: $0.b.shape)
    }
    notInBase = base == nil ? [] : pairs.filter { $0.base == nil }.map(\.a.name)
    problems = [first, second, third].compactMap { $0 }.flatMap(\.outline.problems)

    let costs = pairs.map { $0.movedBytes(spectra: options.spectra) }
    tensors = try MeasurementContext.run(options, stage: "diff", totalBytes: costs.reduce(0, +)) {
      (context) throws(Problem) in
      try context.pool.map(costs: costs) { (index) throws(Problem) in try pairs[index].difference(context) }
    }
  }

  /// Tensors that both models have in two element types; they are compared all the same.
  public var retyped: [Tensor] { tensors.filter { $0.elementTypeA != $0.elementTypeB } }

  /// All tensors together.
  public var total: Group { Group("total", tensors) }

  /// By layer, module after module; what stands before and after the layers are groups of their own.
  public var layers: [Group] {
    let modules = Set(tensors.map(\.place.module)).count
    return grouped(tensors, by: { LayerKey($0.place) }).sorted { $0.key < $1.key }.map { key, tensors in
      Group(key.name(amongModules: modules), tensors)
    }
  }

  /// By role, in the order of names; tensors that no description names are `unknown`.
  public var roles: [Group] {
    grouped(tensors, by: { $0.place.roleName }).sorted { $0.key < $1.key }.map { Group($0.key, $0.elements) }
  }
}

extension ModelDifference.Group {
  fileprivate init(_ name: String, _ tensors: [ModelDifference.Tensor]) {
    self.name = name
    tensorCount = tensors.count
    change = tensors.reduce(into: Change()) { $0.add($1.change) }
    let conflicts = tensors.compactMap(\.conflict)
    conflict = conflicts.isEmpty ? nil : conflicts.reduce(into: UpdateConflict()) { $0.add($1) }
  }
}

/// The parameters of a model by their names in its family's description.
private struct NamedParameters {
  typealias Entry = (place: TensorPlace, parameter: Parameter)

  let outline: ModelOutline
  let all: [Entry]
  private let positions: [ExactString: Int]

  init(_ checkpoint: any Checkpoint, families: [Architecture]) {
    outline = ModelOutline(of: checkpoint, families: families)
    all = zip(outline.places, checkpoint.parameters).map { ($0, $1) }
    positions = Dictionary(
      all.enumerated().map { (ExactString($0.element.place.canonicalName), $0.offset) },
      uniquingKeysWith: { first, _ in first })
  }

  subscript(name: String) -> Entry? { positions[ExactString(name)].map { all[$0] } }
}
