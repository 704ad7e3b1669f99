internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNumerics

/// A parameter that an operation asks for, in the form it works on.
struct ParameterRequest: Sendable, Hashable {
  enum Form: Sendable, Hashable {
    /// A matrix `[first dimension, all others]`, applied as it is stored.
    case matrix
    /// All elements as floats.
    case vector
  }

  /// The canonical name.
  let name: String
  let form: Form
}

/// What a request brings.
enum LoadedParameter: Sendable {
  case matrix(any LinearMap)
  case vector(AlignedBuffer)
}

/// What the requests of a section bring: matrices and vectors, each in the order of their requests.
struct LoadedParameters: Sendable {
  var matrices: [any LinearMap] = []
  var vectors: [AlignedBuffer] = []

  mutating func append(_ parameter: LoadedParameter) {
    switch parameter {
    case .matrix(let map): matrices.append(map)
    case .vector(let buffer): vectors.append(buffer)
    }
  }
}

/// Where an operation finds a matrix among those of its section, a vector among its vectors.
struct MatrixHandle: Sendable { let index: Int }
struct VectorHandle: Sendable { let index: Int }

extension ParameterDescription {
  /// The shape in canonical layout: `[out, in]` where it is stored transposed.
  var canonicalShape: [Int] { recipe.canonical(shape) }

  /// Rows and columns as a map has them.
  var matrixShape: (rows: Int, columns: Int) { recipe.matrixShape(of: shape) }
}

extension StoredForm {
  /// The canonical layout of what is stored in this shape.
  func canonical(_ shape: [Int]) -> [Int] {
    guard isTransposed, shape.count > 1 else { return shape }
    var shape = shape
    shape.swapAt(shape.count - 1, shape.count - 2)
    return shape
  }

  /// Rows and columns as a map has them: all dimensions but the first are inputs. A leading 1 before two others is no
  /// dimension.
  func matrixShape(of stored: [Int]) -> (rows: Int, columns: Int) {
    var shape = canonical(stored)
    if shape.count == 3, shape[0] == 1 { shape.removeFirst() }
    return (shape.first ?? 1, shape.dropFirst().reduce(1, *))
  }
}
