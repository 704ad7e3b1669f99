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

/// Where an operation finds a matrix or a vector among the parameters of its section.
struct MatrixHandle: Sendable { let index: Int }
struct VectorHandle: Sendable { let index: Int }
