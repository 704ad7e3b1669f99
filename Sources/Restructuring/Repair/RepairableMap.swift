internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// A map of a changed model of whose inputs some left, and what it was before.
struct RepairableMap {
  /// As the changed model has it.
  let parameter: Parameter
  /// As it was, `[outputs, inputs]`; of its outputs those that stay.
  let whole: Matrix<Double>
  /// The inputs that stay, in their order now.
  let kept: [Int]
  private let isTransposed: Bool

  /// A map that lost inputs, before its weights are read: there may be many.
  struct Listing {
    let name: String
    /// Where rows enter it.
    let site: String
    /// Whether it sees the rows that a router chooses for it, which in the changed model are others.
    let isExpert: Bool
    /// Whether a norm of its layer runs over inputs that left: those that stay have other values then.
    let isBehindNorm: Bool
    let read: (FilePool) throws(Problem) -> RepairableMap
  }

  /// The maps of a changed model that read less than they did: channels, heads or states that left their layer. What
  /// leaves the stream between layers is not made up for, since norms see it too.
  ///
  /// - Returns: in the order of the parameters; and the names of those that are stored several in a tensor, which are not
  ///   read so.
  static func all(of changed: RestructuredCheckpoint) -> (maps: [Listing], stacked: [String]) {
    var (maps, stacked): ([Listing], [String]) = ([], [])
    let byName = changed.base.parametersByName()
    let choices = changed.change.choices
    func cut(_ dimension: Dimension) -> [String] {
      dimension.axes.filter { $0.scope != .model && choices[$0.instance] != nil }.map(\.instance)
    }
    let normed = Set(
      changed.origins.values.filter { $0.role.part == .norm }.flatMap { $0.dimensions.flatMap(cut) })
    for parameter in changed.parameters {
      guard let source = changed.origins[parameter.name], let site = source.inputSite,
        let input = source.dimensions.indices.first(where: { UnitGroup.isInput($0, of: source) }),
        !cut(source.dimensions[input]).isEmpty,
        let stored = source.names.lazy.compactMap({ byName[ExactString($0)] }).first
      else { continue }
      guard source.dimensions.count == 2 else {
        stacked.append(parameter.name)
        continue
      }
      maps.append(
        Listing(
          name: parameter.name, site: site, isExpert: source.expert != nil,
          isBehindNorm: !normed.isDisjoint(with: cut(source.dimensions[input]))
        ) { (files) throws(Problem) in
          try RepairableMap(parameter, stored, source, input, choices, files: files)
        })
    }
    return (maps, stacked)
  }

  private init(
    _ parameter: Parameter, _ stored: Parameter, _ source: ParameterDescription, _ input: Int,
    _ choices: [String: AxisChoice], files: FilePool
  ) throws(Problem) {
    let isTransposed = source.recipe.isTransposed
    kept = try source.dimensions[input].indices(taking: choices)
    whole = try stored.matrix(isTransposed: isTransposed, files: files).selecting(
      rows: source.dimensions[1 - input].indices(taking: choices))
    (self.parameter, self.isTransposed) = (parameter, isTransposed)
  }

  /// The inputs that left, ascending.
  var left: [Int] {
    let kept = Set(kept)
    return (0..<whole.columns).filter { !kept.contains($0) }
  }

  /// Values as they are stored of the changed map, `[outputs, inputs that stay]`.
  func canonical(_ values: [Float]) throws(Problem) -> Matrix<Double> {
    let stored = try Matrix(rows: parameter.shape[0], columns: parameter.shape[1], elements: values)
    return Matrix<Double>(isTransposed ? stored.transposed : stored)
  }

  /// Values of the changed map, `[outputs, inputs that stay]`, as they are stored.
  func stored(_ weight: Matrix<Double>) -> [Float] {
    Matrix<Float>(isTransposed ? weight.transposed : weight).elements
  }
}

extension Parameter {
  /// A map of two dimensions as `[outputs, inputs]`.
  func matrix(isTransposed: Bool, files: FilePool) throws(Problem) -> Matrix<Double> {
    guard shape.count == 2 else {
      throw Problem(.restructuring, "a map of \(shape.count) dimensions is not one matrix", tensor: name)
    }
    let stored = try Matrix(rows: shape[0], columns: shape[1], elements: try values(files: files))
    return Matrix<Double>(isTransposed ? stored.transposed : stored)
  }
}
