public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierLinearMaps
public import EspalierNumerics

/// A matrix W `[outputs, inputs]` of a block that rows of a site are multiplied by, and where it is stored.
public struct NetworkMatrix: Sendable {
  /// The canonical name.
  public let name: String
  /// As in ``EspalierArchitectures/ParameterDescription/inputSite``.
  public let site: String
  public let part: Role.Part
  /// The number of its layer, nil outside layers.
  public let layer: Int?
  public let outputs: Int
  public let inputs: Int
  /// The stored parameter that holds it, perhaps with others.
  public let parameter: Parameter
  /// Whether the parameter holds it turned, `[inputs, outputs]`.
  public let isTransposed: Bool
  /// Where its rows are among those of the parameter, seen as a matrix `[all dimensions but the last, last]`; nil if it
  /// is all of it.
  public let rows: [Int]?
  let request: ParameterRequest
}

extension Network {
  /// The matrices of a block that have a site, in the order in which they are applied; those whose stored value is
  /// transformed before it is used are not among them.
  ///
  /// - Parameter index: of the block in ``blocks()``.
  /// - Throws: `network.parameter` as ``init(_:architectures:mode:residency:workers:)``.
  public func matrices(ofBlock index: Int) throws(Problem) -> [NetworkMatrix] {
    var matrices: [NetworkMatrix] = []
    for request in plan.sections[index].requests where request.form == .matrix {
      guard let wanted = program.description.parameter(named: request.name), let site = wanted.inputSite else {
        continue
      }
      let source = try store.source(of: request)
      guard source.description.recipe.value == .identity else { continue }
      matrices.append(
        NetworkMatrix(
          name: wanted.name, site: site, part: wanted.role.part, layer: wanted.layer,
          outputs: source.matrixShape.rows, inputs: source.matrixShape.columns, parameter: source.parameter,
          isTransposed: source.description.recipe.isTransposed && source.shape.count > 1, rows: source.rows,
          request: request))
    }
    return matrices
  }

  /// The numbers of a matrix, widened.
  ///
  /// - Throws: what reading throws.
  public func weight(of matrix: NetworkMatrix) throws(Problem) -> Matrix<Float> {
    do throws(Problem) {
      let values = try store.floats(try store.source(of: matrix.request))
      let count = matrix.outputs * matrix.inputs
      return try Matrix(
        rows: matrix.outputs, columns: matrix.inputs, elements: Array(values.values(of: Float.self)[..<count]))
    } catch { throw error.at(tensor: matrix.parameter.name) }
  }
}
