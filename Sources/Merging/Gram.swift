internal import CKernels
internal import EspalierBasics
internal import EspalierExecution
internal import EspalierNumerics

/// Inner products of the inputs of a merge, as vectors over the whole tensor.
///
/// Every method on the sphere (slerp, nuslerp, multislerp, karcher) gives a linear combination of its inputs whose
/// coefficients depend on inner products alone. So one pass gathers these, the geometry happens on small matrices in
/// float64, and a second pass forms the combination.
struct Gram {
  let count: Int
  private var products: [Double]

  subscript(i: Int, j: Int) -> Double {
    get { products[i * count + j] }
    set { products[i * count + j] = newValue }
  }

  func norm(_ i: Int) -> Double { self[i, i].squareRoot() }

  /// Squared norm of `sum c_i v_i`; rounding below zero counts as zero.
  func squaredNorm(_ c: [Double]) -> Double {
    var sum = 0.0
    for i in 0..<count { for j in 0..<count { sum += c[i] * c[j] * self[i, j] } }
    return max(0, sum)
  }

  /// Inner product of input `i` with `sum c_j v_j`.
  func product(_ i: Int, _ c: [Double]) -> Double {
    (0..<count).reduce(0) { $0 + c[$1] * self[i, $1] }
  }

  /// The matrix of `v_i / scale_i`.
  func scaled(by scales: [Double]) -> Gram {
    var result = self
    for i in 0..<count { for j in 0..<count { result[i, j] = self[i, j] * scales[i] * scales[j] } }
    return result
  }

  init(count: Int, products: [Double]) {
    self.count = count
    self.products = products
  }

  /// One pass over the inputs, from which the first is subtracted if it is the base (which is then left out).
  init(_ tensor: TensorPasses, hasBase: Bool) throws(Problem) {
    let first = hasBase ? 1 : 0
    let count = tensor.inputCount - first
    let sums = try tensor.sums(count * (count + 1) / 2) { block, sums in
      if hasBase { block.subtractBase() }
      Gram.upperTriangle(block, first: first, into: sums)
    }
    self.init(count: count, upperTriangle: sums)
  }

  /// Bytes that the pass over a tensor of this shape keeps: one float64 a product and block, and their copy.
  static func passBytes(shape: [Int], count: Int) -> Int {
    16 * (count * (count + 1) / 2) * (shape.reduce(1, *) / CanonicalSum.blockLength + 1)
  }

  /// From the products `(0,0), (0,1), ... (1,1), ...`.
  init(count: Int, upperTriangle: [Double]) {
    self.init(count: count, products: [Double](repeating: 0, count: count * count))
    var next = 0
    for i in 0..<count {
      for j in i..<count {
        self[i, j] = upperTriangle[next]
        self[j, i] = upperTriangle[next]
        next += 1
      }
    }
  }

  /// Inner products of the inputs of one block from `first` on.
  static func upperTriangle(_ block: Block, first: Int, into sums: UnsafeMutablePointer<Double>) {
    var next = 0
    for i in first..<block.inputs.count {
      for j in i..<block.inputs.count {
        sums[next] = es_dot(block.inputs[i], block.inputs[j], Int64(block.count))
        next += 1
      }
    }
  }
}

extension Block {
  /// Turns every input but the first into its difference from the first.
  func subtractBase() {
    for input in inputs.dropFirst() { es_subtract(input, inputs[0], Int64(count)) }
  }

  /// `output = sum_i coefficients_i * inputs_i`, in float64 with one rounding.
  func combine(_ coefficients: [Double]) {
    withReadableInputs { es_weighted_sum($0, coefficients, Int64(coefficients.count), output, Int64(count)) }
  }

  /// `output = base + sum_i coefficients_i * (inputs_i - base)` with the base as first input.
  func addDeltas(_ coefficients: [Double]) {
    withReadableInputs(from: 1) {
      es_add_deltas(inputs[0], $0, coefficients, Int64(coefficients.count), output, Int64(count))
    }
  }
}

/// Coefficients of `slerp(v_1, v_2; t)` (Shoemake 1985): `sin((1-t)θ)/sin θ` and `sin(tθ)/sin θ`.
///
/// - Parameter parallel: whether the cosine counts as parallel, where the limit `1-t, t` is taken.
func slerpCoefficients(t: Double, cosine: Double, parallel: (Double) -> Bool) -> (Double, Double) {
  let cosine = min(1, max(-1, cosine))
  guard !parallel(cosine) else { return (1 - t, t) }
  let angle = Elementary.acos(cosine)
  let sine = Elementary.sin(angle)
  guard sine > 0 else { return (1 - t, t) }
  return (Elementary.sin((1 - t) * angle) / sine, Elementary.sin(t * angle) / sine)
}
