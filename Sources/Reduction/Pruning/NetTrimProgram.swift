internal import CKernels
public import EspalierBasics
public import EspalierNumerics

/// The convex program of Net-Trim: the weights of least sum of magnitudes whose responses to sample inputs stay near
/// those of a layer.
///
/// ```
/// minimize ‖U‖₁   subject to   ‖(U Xᵀ - Y)[Y > 0]‖_F <= ε,   (U Xᵀ)[Y <= 0] <= 0        Y = max(0, W Xᵀ)
/// ```
///
/// for a layer followed by a rectifier; without one, Y = W Xᵀ and the first constraint holds for all responses. Solved
/// by the alternating direction method of multipliers on U = V, Z = V Xᵀ, in which V is a least-squares problem whose
/// matrix `I + Xᵀ X` never changes; penalties are balanced by the residuals (`boyd2011admm`, section 3.4.1) for the
/// first 400 iterations. Source: `aghasi2020nettrim`, section 4.
///
/// Cost: 4 outputs samples inputs + 2 outputs inputs² flops an iteration; 24 outputs (samples + inputs) bytes.
public struct NetTrimProgram: Sendable {
  public struct Solution: Sendable {
    /// U `[outputs, inputs]`, with exact zeros.
    public var weight: Matrix<Double>
    /// Of U itself, relative to ‖Y‖: over all responses, behind the rectifier if there is one.
    public var responseError: Double
    /// How far the copies of U and of the responses are from each other, relative to their size.
    public var primalResidual: Double
    /// How far the last iteration moved, relative to the multipliers.
    public var dualResidual: Double
    public var iterations: Int
    public var converged: Bool

    public var zeros: Int { weight.elements.reduce(0) { $0 + ($1 == 0 ? 1 : 0) } }
  }

  private let weight: Matrix<Double>
  /// `[samples, inputs]`, scaled so that the mean eigenvalue of Xᵀ X is 1; weights are scaled to a mean magnitude of 1.
  private let inputs: Matrix<Double>
  private let responses: Matrix<Double>
  private let solver: Matrix<Double>
  private let rectified: Bool
  private let weightScale: Double

  /// - Parameters:
  ///   - weight: W `[outputs, inputs]`.
  ///   - inputs: X `[samples, inputs]`, or any R with Rᵀ R = Xᵀ X where there is no rectifier.
  /// - Throws: `matrix.shape`, `linear-algebra.non-finite`.
  public init(
    weight: Matrix<Double>, inputs: Matrix<Double>, rectified: Bool,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) {
    guard weight.columns == inputs.columns else {
      throw Problem(.matrixShape, "inputs of \(inputs.columns) columns for a weight of \(weight.columns)")
    }
    for (matrix, name) in [(weight, "weight"), (inputs, "matrix of inputs")] {
      if let index = matrix.elements.firstIndex(where: { !$0.isFinite }) {
        throw Problem(
          .nonFiniteMatrix,
          "\(matrix.elements[index]) at row \(index / matrix.columns), column \(index % matrix.columns) of the \(name)")
      }
    }
    let n = Double(max(1, weight.columns))
    let inputScale = max((inputs.elements.reduce(0) { $0 + $1 * $1 } / n).squareRoot(), .leastNormalMagnitude)
    let magnitude = weight.elements.reduce(0) { $0 + $1.magnitude } / Double(max(1, weight.elements.count))
    weightScale = magnitude > 0 ? magnitude : 1
    self.rectified = rectified
    var (w, x) = (weight, inputs)
    for index in w.elements.indices { w.elements[index] /= weightScale }
    for index in x.elements.indices { x.elements[index] /= inputScale }
    var y = try MatrixProduct.product(w, x, transposingSecond: true, parallel: parallel)
    if rectified { for index in y.elements.indices { y.elements[index] = max(0, y.elements[index]) } }
    var gram = try MatrixProduct.product(x, x, transposingFirst: true, parallel: parallel)
    for i in 0..<gram.rows { gram[i, i] += 1 }
    // The factor takes 2 / count of a moment; count 2 leaves it as it is.
    solver = try InverseFactor(moment: gram, count: 2, damp: 0, parallel: parallel).inverse(parallel: parallel)
    (self.weight, self.inputs, responses) = (w, x, y)
  }

  /// - Parameters:
  ///   - tolerance: ε relative to ‖Y‖_F, from 0.
  ///   - residual: iterations end when both residuals are below it.
  ///   - start: a solution for another tolerance to begin with.
  /// - Throws: `reduction` for a tolerance or residual that is no such number.
  public func solve(
    tolerance: Double, residual: Double = 1e-4, iterations: Int = 5000, from start: Solution? = nil,
    parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> Solution {
    guard tolerance >= 0, tolerance.isFinite, residual > 0, residual.isFinite, iterations > 0 else {
      throw Problem(.reduction, "Net-Trim cannot reach a tolerance of \(tolerance) to a residual of \(residual)")
    }
    let (m, n, s) = (weight.rows, weight.columns, inputs.rows)
    let epsilon = tolerance * norm(responses.elements)
    var v = weight
    guard start.map({ $0.weight.elements.count == m * n }) ?? true else {
      throw Problem(.matrixShape, "a solution of another shape cannot start one of \(m) x \(n)")
    }
    if let start { for index in v.elements.indices { v.elements[index] = start.weight.elements[index] / weightScale } }
    var vx = try MatrixProduct.product(v, inputs, transposingSecond: true, parallel: parallel)
    var u = v.elements
    var z = [Double](repeating: 0, count: m * s)
    var (du, dz) = ([Double](repeating: 0, count: m * n), z)
    var penalty = 1.0
    var (primal, dual, done) = (Double.infinity, Double.infinity, 0)
    while done < iterations, primal > residual || dual > residual {
      done += 1
      for i in u.indices { u[i] = v.elements[i] - du[i] }
      let before = u
      es_prune_shrink(before, Int64(u.count), 1 / penalty, &u)
      for i in z.indices { z[i] = vx.elements[i] - dz[i] }
      project(&z, within: epsilon)
      // V (I + Xᵀ X) = U + Du + (Z + Dz) X
      let target = try Matrix(rows: m, columns: s, elements: zip(z, dz).map(+))
      var right = try MatrixProduct.product(target, inputs, parallel: parallel)
      for i in u.indices { right.elements[i] += u[i] + du[i] }
      let next = try MatrixProduct.product(right, solver, parallel: parallel)
      let nextResponses = try MatrixProduct.product(next, inputs, transposingSecond: true, parallel: parallel)
      var (gap, step, size, copies, multipliers) = (0.0, 0.0, 0.0, 0.0, 0.0)
      func account(_ copy: Double, _ new: Double, _ old: Double, _ multiplier: inout Double) {
        let difference = copy - new
        multiplier += difference
        gap += difference * difference
        step += (new - old) * (new - old)
        copies += copy * copy
        size += new * new
        multipliers += multiplier * multiplier
      }
      for i in u.indices { account(u[i], next.elements[i], v.elements[i], &du[i]) }
      for i in z.indices { account(z[i], nextResponses.elements[i], vx.elements[i], &dz[i]) }
      (v, vx) = (next, nextResponses)
      primal = (gap / max(size, copies, .leastNormalMagnitude)).squareRoot()
      dual = (step / max(multipliers, .leastNormalMagnitude)).squareRoot()
      if step == 0 { dual = 0 }
      guard done <= 400, done % 10 == 0 else { continue }
      let change = primal > 5 * dual ? 2.0 : dual > 5 * primal ? 0.5 : 1
      penalty *= change
      for i in du.indices { du[i] /= change }
      for i in dz.indices { dz[i] /= change }
    }
    let result = try Matrix(rows: m, columns: n, elements: u.map { $0 * weightScale })
    let error = try responseError(of: u, parallel)
    return Solution(
      weight: result, responseError: error, primalResidual: primal, dualResidual: dual, iterations: done,
      converged: primal <= residual && dual <= residual)
  }

  /// The nearest responses that the constraints allow.
  private func project(_ z: inout [Double], within epsilon: Double) {
    let y = responses.elements
    var distance = 0.0
    for i in z.indices where !rectified || y[i] > 0 { distance += (z[i] - y[i]) * (z[i] - y[i]) }
    distance = distance.squareRoot()
    let scale = distance > epsilon ? epsilon / distance : 1
    for i in z.indices {
      if !rectified || y[i] > 0 {
        z[i] = y[i] + scale * (z[i] - y[i])
      } else {
        z[i] = min(z[i], 0)
      }
    }
  }

  private func responseError(of u: [Double], _ parallel: MatrixProduct.ParallelLoop) throws(Problem) -> Double {
    let pruned = try Matrix(rows: weight.rows, columns: weight.columns, elements: u)
    let found = try MatrixProduct.product(pruned, inputs, transposingSecond: true, parallel: parallel).elements
    var error = 0.0
    for (value, wanted) in zip(found, responses.elements) {
      let difference = (rectified ? max(0, value) : value) - wanted
      error += difference * difference
    }
    let whole = norm(responses.elements)
    return whole > 0 ? error.squareRoot() / whole : error > 0 ? .infinity : 0
  }

  private func norm(_ values: [Double]) -> Double { values.reduce(0) { $0 + $1 * $1 }.squareRoot() }
}
