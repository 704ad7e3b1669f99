internal import EspalierBasics
internal import EspalierNumerics

/// From a stored value to that of the parameter, where a format stores what the network computes with and a checkpoint
/// of the family something else.
public enum ElementMap: String, Sendable, Hashable, Codable, CaseIterable {
  /// `x - 1` in float32: the scale of a norm, which Gemma's checkpoints store less one.
  case minusOne
  /// `log(-x)`, in float64 and rounded once: the decay of a state space, of which Mamba's checkpoints store the
  /// logarithm. Stored is a rounded value, so that the original is met to the last bit or one beside it.
  case logarithmOfNegative
  /// `x + 1` in float32: the inverse of ``minusOne``, up to the rounding of the sum.
  case plusOne
  /// `-exp(x)`, in float64 and rounded once: the inverse of ``logarithmOfNegative``, up to that rounding.
  case negativeExponential

  /// The map that undoes this one.
  public var inverse: ElementMap {
    switch self {
    case .minusOne: .plusOne
    case .plusOne: .minusOne
    case .logarithmOfNegative: .negativeExponential
    case .negativeExponential: .logarithmOfNegative
    }
  }

  func apply(to values: UnsafeMutableBufferPointer<Float>) {
    switch self {
    case .minusOne: for index in values.indices { values[index] -= 1 }
    case .plusOne: for index in values.indices { values[index] += 1 }
    case .logarithmOfNegative:
      for index in values.indices { values[index] = Float(Elementary.log(-Double(values[index]))) }
    case .negativeExponential:
      for index in values.indices { values[index] = Float(-Elementary.exp(Double(values[index]))) }
    }
  }
}

/// Reads a function of another parameter, element by element.
final class MappedReader: ParameterReader {
  private let base: any ParameterReader
  private let map: ElementMap

  init(base: any ParameterReader, map: ElementMap) {
    self.base = base
    self.map = map
  }

  var elementCount: Int { base.elementCount }
  var residentBytes: Int { base.residentBytes }
  func scratchBytes(for count: Int) -> Int { base.scratchBytes(for: count) }

  func read(
    _ range: Range<Int>, into destination: UnsafeMutablePointer<Float>, scratch: UnsafeMutableRawPointer
  ) throws(Problem) {
    try base.read(range, into: destination, scratch: scratch)
    map.apply(to: UnsafeMutableBufferPointer(start: destination, count: range.count))
  }
}
