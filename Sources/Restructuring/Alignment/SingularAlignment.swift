public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNumerics

/// How far the leading singular vectors of two models' matrices point the same way.
///
///     R = Σ_matrices Σ_ij (u_i · u'_j) (v_i · v'_j)  /  Σ_matrices max(n, n')
///
/// over the n and n' singular vectors whose values are at least a share of each matrix's largest. 1 if both have the same
/// vectors, about 0 if they know nothing of each other. After Ito, Yamada, Kumagai, 2025, arXiv:2402.04051, section 4, who
/// show that a good match turns these vectors towards each other while the distance of the weights hardly falls.
public struct SingularAlignment: Sendable, Hashable {
  /// Matrices that were compared.
  public var matrices = 0
  public var before = 0.0
  public var after = 0.0
  /// Of the largest singular value: vectors of smaller ones do not count.
  public static let share = 0.3

  /// - Parameters:
  ///   - before, after: the model in its old and its new order.
  /// - Throws: what reading and decomposing throw.
  public static func measure(
    _ before: any Checkpoint, _ after: RestructuredCheckpoint, to reference: any Checkpoint, workers: WorkerPool
  ) throws(Problem) -> SingularAlignment {
    let old = before.parametersByName()
    let new = after.parametersByName()
    let matrices = matrices(of: reference, described: after.description)
    let files = FilePool()
    let sums = try workers.map(matrices.count) { (index) throws(Problem) -> (Double, Double, Double)? in
      let name = ExactString(matrices[index].name)
      guard let first = old[name], let second = new[name], first.shape == matrices[index].shape else { return nil }
      let target = try Vectors(matrices[index], files)
      let (left, right) = (try Vectors(first, files), try Vectors(second, files))
      let count = Double(max(target.count, left.count))
      return (target.agreement(with: left), target.agreement(with: right), count)
    }
    var result = SingularAlignment()
    var vectors = 0.0
    for case (let before, let after, let count)? in sums {
      result.matrices += 1
      result.before += before
      result.after += after
      vectors += count
    }
    if vectors > 0 { (result.before, result.after) = (result.before / vectors, result.after / vectors) }
    return result
  }

  /// Bytes that comparing takes at the most: of one matrix a thread the values and factors of three models, in float64.
  public static func workingBytes(
    of reference: any Checkpoint, described description: ModelDescription, threads: Int
  ) -> Int {
    let numbers = matrices(of: reference, described: description).map { parameter in
      let (rows, columns) = (parameter.shape[0], parameter.shape[1])
      return 2 * rows * columns + min(rows, columns) * (rows + columns)
    }
    return 3 * MemoryLayout<Double>.stride * threads * (numbers.max() ?? 0)
  }

  /// Maps of the model between its own axes, without those of tokens.
  private static func matrices(
    of checkpoint: any Checkpoint, described description: ModelDescription
  ) -> [Parameter] {
    checkpoint.parameters.filter { parameter in
      guard let described = description.parameter(named: parameter.name) else { return false }
      return parameter.shape.count == 2 && described.inputSite != nil && described.vocabularyDimension == nil
        && parameter.shape.allSatisfy { $0 > 1 }
    }
  }

  /// The leading singular vectors of a matrix.
  private struct Vectors {
    let count: Int
    let decomposition: SingularValueDecomposition

    init(_ parameter: Parameter, _ files: FilePool) throws(Problem) {
      let values = try parameter.values(files: files)
      decomposition = try LinearAlgebra.svd(
        try Matrix(rows: parameter.shape[0], columns: parameter.shape[1], elements: values.map { Double($0) }))
      let largest = decomposition.values.first ?? 0
      count = largest > 0 ? decomposition.values.count { $0 >= SingularAlignment.share * largest } : 0
    }

    func agreement(with other: Vectors) -> Double {
      var sum = 0.0
      let (u, v) = (decomposition.u, decomposition.vTransposed)
      let (w, x) = (other.decomposition.u, other.decomposition.vTransposed)
      for i in 0..<count {
        for j in 0..<other.count {
          var (left, right) = (0.0, 0.0)
          for row in 0..<u.rows { left += u[row, i] * w[row, j] }
          for column in 0..<v.columns { right += v[i, column] * x[j, column] }
          sum += left * right
        }
      }
      return sum
    }
  }
}
