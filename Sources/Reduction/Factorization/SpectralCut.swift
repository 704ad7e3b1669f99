public import EspalierBasics
public import EspalierNumerics

/// One weight, decomposed once, to be cut to any rank: what layer-selective rank reduction does to a matrix (Sharma et al.
/// 2024).
public struct SpectralCut: Sendable {
  private let whole: Matrix<Double>
  private let svd: SingularValueDecomposition
  public let outputs: Int
  public let inputs: Int

  /// - Throws: as ``LinearAlgebra/svd(_:)``.
  public init(_ weight: Matrix<Float>) throws(Problem) {
    whole = Matrix<Double>(weight)
    svd = try LinearAlgebra.svd(whole)
    (outputs, inputs) = (weight.rows, weight.columns)
  }

  /// All singular values, descending.
  public var singularValues: [Double] { svd.values }

  /// `Int(share * min(outputs, inputs))`, at least 1.
  ///
  /// - Throws: `reduction` unless the share is above 0 and at most 1.
  public func rank(keeping share: Double) throws(Problem) -> Int {
    guard share > 0, share <= 1, !svd.values.isEmpty else {
      throw Problem(
        .reduction, "a share of \(share) of the singular values of \(outputs) x \(inputs) must be above 0 and at most 1"
      )
    }
    return max(1, Int(share * Double(svd.values.count)))
  }

  /// The weight without its singular values beyond `rank`, as large as it was, and the relative error
  /// `sqrt(s_(rank+1)² + ...) / ‖W‖_F`, which no matrix of this rank can better.
  ///
  /// - Throws: `reduction` unless the rank is 1 to min(outputs, inputs).
  public func weight(
    rank: Int, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> (matrix: Matrix<Float>, certificate: Certificate) {
    let rank = try MatrixBudget.rank(rank).rank(outputs: outputs, inputs: inputs, method: "laser")
    let kept = Array(0..<rank)
    let left = svd.u.selecting(columns: kept).scaling(columns: Array(svd.values.prefix(rank)))
    let matrix = try MatrixProduct.product(left, svd.vTransposed.selecting(rows: kept), parallel: parallel)
    let error = Factors.floor(svd.values, rank: rank)
    return (
      Matrix<Float>(matrix),
      Certificate(error: error, norm: "relative Frobenius norm of the weight", kind: .exact, floor: error)
    )
  }

  /// The factors that ``PlainSVD`` makes of the weight at this rank, without decomposing it again.
  ///
  /// - Throws: as ``weight(rank:parallel:)``.
  public func form(
    rank: Int, parallel: MatrixProduct.ParallelLoop = MatrixProduct.serially
  ) throws(Problem) -> ReducedMatrix.Form {
    let rank = try MatrixBudget.rank(rank).rank(outputs: outputs, inputs: inputs, method: "laser")
    let subspace = try OutputSubspace(of: whole, decomposed: svd, rank: rank, parallel: parallel)
    let factors = try subspace.factors(of: whole, parallel: parallel)
    return .factors(left: factors.left, right: factors.right)
  }
}

/// Layer-selective rank reduction: of all single cuts, the one that helps a model most (Sharma et al. 2024).
public enum Laser {
  /// A matrix of a model, and the share of its singular values that stays.
  public struct Cut: Sendable, Hashable {
    public var weight: String
    public var share: Double

    public init(weight: String, share: Double) {
      self.weight = weight
      self.share = share
    }
  }

  public struct Trial: Sendable, Hashable {
    public var cut: Cut
    public var score: Double
  }

  public struct Outcome: Sendable {
    public var baseline: Double
    /// In the order asked for.
    public var trials: [Trial]
    /// The best trial above the baseline, of equal ones the first; nil if the model is best as it is.
    public var best: Trial?
  }

  /// - Throws: `reduction` for a share outside of (0, 1].
  public static func check(shares: [Double]) throws(Problem) {
    guard let bad = shares.first(where: { !($0 > 0 && $0 <= 1) }) else { return }
    throw Problem(.reduction, "a share of \(bad) of the singular values must be above 0 and at most 1")
  }

  /// Tries every cut alone.
  ///
  /// The score of a cut that was chosen for it flatters: say on other data what it is worth.
  ///
  /// - Parameters:
  ///   - weights: names.
  ///   - shares: of singular values kept; the source's grid goes from 0.99 down to 0.01.
  ///   - baseline: the score of the whole model.
  ///   - load: the weight of a name; it is decomposed once, and only if a score asks for it.
  ///   - evaluate: the score of the model with this weight cut so; higher is better, NaN is worst.
  /// - Throws: as ``check(shares:)``; what the closures throw.
  public static func search(
    weights: [String], shares: [Double], baseline: Double,
    load: @escaping (String) throws(Problem) -> Matrix<Float>,
    evaluate: (_ cut: Cut, _ weight: () throws(Problem) -> SpectralCut) throws(Problem) -> Double
  ) throws(Problem) -> Outcome {
    try check(shares: shares)
    var outcome = Outcome(baseline: baseline, trials: [], best: nil)
    for name in weights {
      do throws(Problem) {
        var decomposed: SpectralCut?
        for share in shares {
          let cut = Cut(weight: name, share: share)
          let score = try evaluate(cut) { () throws(Problem) in
            if let decomposed { return decomposed }
            let found = try SpectralCut(load(name))
            decomposed = found
            return found
          }
          let trial = Trial(cut: cut, score: score)
          outcome.trials.append(trial)
          if trial.score > outcome.best?.score ?? baseline { outcome.best = trial }
        }
      } catch { throw error.at(tensor: name) }
    }
    return outcome
  }
}
