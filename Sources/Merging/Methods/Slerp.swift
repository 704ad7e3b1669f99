public import EspalierBasics
internal import EspalierExecution

/// Spherical interpolation between the base (t = 0) and the other model (t = 1), over the whole tensor as one vector.
///
/// ```
/// out = sin((1-t)θ)/sin θ * b + sin(tθ)/sin θ * x,   cos θ = b·x / (|b| |x|)
/// ```
/// The interpolation is of the vectors as they are, not of their directions; where `|cos θ| > 0.9995`, which is usual
/// for fine-tunes of one base, it is the straight line `(1-t) b + t x`. Cost: two passes.
public struct Slerp: MergeMethod {
  public static let card = MethodCard(
    name: "slerp", summary: "Spherical interpolation between two models.", source: "shoemake1985slerp",
    parameters: [
      ParameterCard("t", .number(0...1), "Position from the base (0) to the other model (1).")
    ],
    notes:
      "A tensor is one flat vector. Above a cosine of 0.9995 the straight line is taken, as in mergekit. Inner products are accumulated in float64."
  )
  public static let inputs = MergeInputRule(base: .required, count: 2...2, missing: .passSingle)
  static let parallelCosine = 0.9995
  static let leastNorm = 1e-8

  private let t: Double

  public init(_ parameters: MergeParameters) throws(Problem) { t = try parameters.number("t") }

  public var passCount: Int { 2 }

  public func residentBytes(shape: [Int], inputs: Int) -> Int { Gram.passBytes(shape: shape, count: inputs) }

  public func merge(_ passes: MergePasses) throws(Problem) {
    let gram = try Gram(passes.tensor, hasBase: false)
    // A vector of no length counts as of length 1: the cosine is then 0.
    let norms = (0..<2).map { gram.norm($0) > Self.leastNorm ? gram.norm($0) : 1 }
    let (first, second) = slerpCoefficients(t: t, cosine: gram[0, 1] / (norms[0] * norms[1])) {
      abs($0) > Self.parallelCosine
    }
    try passes.tensor.write { $0.combine([first, second]) }
  }
}
