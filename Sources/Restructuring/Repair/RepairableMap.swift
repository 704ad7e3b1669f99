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
  /// Where rows enter it.
  let site: String
  private let isTransposed: Bool

  /// The maps of a changed model that read less than they did: channels, heads or states that left their layer. What
  /// leaves the stream between layers is not made up for, since norms see it too.
  ///
  /// - Returns: in the order of the parameters, each with what reads it, for there may be many; and the names of those that
  ///   are stored several in a tensor, which are not read so.
  static func all(
    of changed: RestructuredCheckpoint
  ) -> (maps: [(name: String, site: String, read: (FilePool) throws(Problem) -> RepairableMap)], others: [String]) {
    var maps: [(name: String, site: String, read: (FilePool) throws(Problem) -> RepairableMap)] = []
    var others: [String] = []
    let byName = changed.base.parametersByName()
    for parameter in changed.parameters {
      guard let source = changed.origins[parameter.name], let site = source.inputSite,
        let input = source.dimensions.indices.first(where: { UnitGroup.isInput($0, of: source) }),
        source.dimensions[input].axes.contains(where: {
          $0.scope != .model && changed.change.choices[$0.instance] != nil
        }),
        let stored = source.names.lazy.compactMap({ byName[ExactString($0)] }).first
      else { continue }
      guard source.dimensions.count == 2 else {
        others.append(parameter.name)
        continue
      }
      maps.append(
        (
          parameter.name, site,
          { (files) throws(Problem) in
            try RepairableMap(parameter, stored, source, input, changed.change.choices, site, files: files)
          }
        ))
    }
    return (maps, others)
  }

  private init(
    _ parameter: Parameter, _ stored: Parameter, _ source: ParameterDescription, _ input: Int,
    _ choices: [String: AxisChoice], _ site: String, files: FilePool
  ) throws(Problem) {
    let isTransposed = source.recipe.isTransposed
    kept = try source.dimensions[input].indices(taking: choices)
    whole = try stored.matrix(isTransposed: isTransposed, files: files).selecting(
      rows: source.dimensions[1 - input].indices(taking: choices))
    (self.parameter, self.site, self.isTransposed) = (parameter, site, isTransposed)
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
