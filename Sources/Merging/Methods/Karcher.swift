public import EspalierBasics
internal import EspalierExecution
internal import EspalierNumerics

/// Riemannian (Karcher) mean of the directions of the models, at their mean length.
///
/// ```
/// m <- exp_m( sum_i α log_m(u_i) ),   log_m(u) = θ/sin θ (u - cos θ m),   θ = acos(m·u),   α = 1/M
/// ```
/// until the tangent step is shorter than `tol`, at most `max_iter` times. Every iterate is a combination of the
/// inputs, so the iteration runs on their inner products in float64: two passes whatever `max_iter`.
public struct Karcher: MergeMethod {
  public static let card = MethodCard(
    name: "karcher", summary: "Riemannian mean of the models on the sphere.", source: "grove1973karcher",
    parameters: [
      ParameterCard("max_iter", .integer(1...10_000), default: .number(10), "Most iterations."),
      ParameterCard(
        "tol", .number(0...1), default: .number(1e-5), "Tangent steps shorter than this end the iteration."),
    ],
    notes:
      "All models weigh the same. Inputs of a length up to tol are left out of the mean direction, not of the mean length, as in mergekit."
  )
  public static let inputs = MergeInputRule(base: .ordinary, count: 1...Int.max)

  private let iterations: Int
  private let tolerance: Double

  public init(_ parameters: MergeParameters) throws(Problem) {
    iterations = Int(try parameters.number("max_iter"))
    tolerance = try parameters.number("tol")
  }

  public var passCount: Int { 2 }

  public func residentBytes(shape: [Int], inputs: Int) -> Int { Gram.passBytes(shape: shape, count: inputs) }

  public func merge(_ passes: MergePasses) throws(Problem) {
    let coefficients = coefficients(try Gram(passes.tensor, hasBase: false))
    try passes.tensor.write { $0.combine(coefficients) }
  }

  /// Coefficients of the mean over the inputs as they are.
  func coefficients(_ gram: Gram) -> [Double] {
    let count = gram.count
    let norms = (0..<count).map { gram.norm($0) }
    let kept = norms.map { $0 > tolerance }
    let present = kept.filter { $0 }.count
    guard present > 0 else { return [Double](repeating: 0, count: count) }
    let inverse = zip(norms, kept).map { $1 ? 1 / $0 : 0 }
    let units = gram.scaled(by: inverse)
    let alpha = kept.map { $0 ? 1 / Double(present) : 0 }
    let length = norms.reduce(0, +) / Double(count)

    // The mean is sum c_i u_i, of length 1.
    var c = alpha
    let start = units.squaredNorm(c).squareRoot()
    if start < tolerance {
      let first = kept.firstIndex(of: true) ?? 0
      c = (0..<count).map { $0 == first ? 1 : 0 }
    } else {
      c = c.map { $0 / start }
    }
    for _ in 0..<iterations {
      let step = tangentStep(at: c, units: units, alpha: alpha)
      let size = units.squaredNorm(step).squareRoot()
      guard size >= tolerance else { break }
      let (cosine, sine) = (Elementary.cos(size), Elementary.sin(size) / size)
      c = zip(c, step).map { cosine * $0 + sine * $1 }
      let norm = units.squaredNorm(c).squareRoot()
      c = c.map { $0 / norm }
    }
    return zip(c, inverse).map { length * $0 * $1 }
  }

  /// `sum_i α_i log_m(u_i)` as coefficients over the units.
  private func tangentStep(at c: [Double], units: Gram, alpha: [Double]) -> [Double] {
    var step = [Double](repeating: 0, count: c.count)
    var alongMean = 0.0
    for i in c.indices where alpha[i] > 0 {
      let cosine = min(1, max(-1, units.product(i, c)))
      let angle = Elementary.acos(cosine)
      let sine = Elementary.sin(angle)
      guard angle >= tolerance, sine > 0 else { continue }
      let factor = alpha[i] * angle / sine
      step[i] += factor
      alongMean += factor * cosine
    }
    return zip(step, c).map { $0 - alongMean * $1 }
  }
}
