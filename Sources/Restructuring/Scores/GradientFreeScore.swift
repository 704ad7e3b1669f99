internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNumerics

/// How well a unit stands for the others of its layer, times how much it says: kernelized convex masking.
///
/// With w_i all weights that read unit i, one vector, and K_ij = exp(-‖w_i - w_j‖² / σ²), the coefficients C `[n, n]` of a
/// convex combination of representatives are found by
///
///     C ← C √(K / (K C)),   C = 1 / n to begin with, entry by entry
///
/// A unit that cannot be put together from others keeps its own coefficient. With x what the unit gives to its readers:
///
///     score_i = scaled(C_ii) scaled(√E‖x_i‖²),   scaled: the layer's least becomes 0, its largest 1
///
/// Cost: 2 n³ flops a step, some tens of steps; memory of 3 n² float64.
public struct GradientFreeScore: UnitScore {
  public static let card = MethodCard(
    name: "gradient-free", summary: "how well a unit stands for others by its weights, times the norm of what it gives",
    source: "nova2023gradientfree",
    notes:
      "R2D2, by weights and unlabelled text alone. Where the source sets the kernel's width by hand, here σ² is the "
      + "mean squared distance of the layer's units; iterations end when C moves by less than 1 %, after 50 at most. Heads "
      + "are compared as wholes. The source orders the units of all layers by it; the scale of a layer is lost in it, so "
      + "here it tells units of one layer.")
  public static let needs = StructuralNeed.statistics

  public init() {}

  public func scores(
    of group: UnitGroup, in subject: any StructuralSubject, files: FilePool
  ) throws(Problem) -> [Double] {
    let norms = try ActivationScore().scores(of: group, in: subject, files: files)
    let kernel = try Self.kernel(of: try group.readingWeights(files: files), subject.workers.forEach)
    let own = try Self.coefficients(kernel, subject.workers.forEach)
    let (representing, saying) = (Self.scaled(own), Self.scaled(norms))
    return representing.indices.map { representing[$0] * saying[$0] }
  }

  /// `K` of the rows of a matrix.
  static func kernel(
    of rows: Matrix<Double>, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> Matrix<Double> {
    var kernel = try MatrixProduct.product(rows, rows, transposingSecond: true, parallel: parallel)
    let squares = (0..<kernel.rows).map { kernel[$0, $0] }
    var sum = 0.0
    for i in squares.indices {
      for j in squares.indices {
        kernel[i, j] = max(0, squares[i] + squares[j] - 2 * kernel[i, j])
        sum += kernel[i, j]
      }
    }
    let pairs = Double(max(1, kernel.rows * (kernel.rows - 1)))
    let width = sum > 0 ? sum / pairs : 1
    for index in kernel.elements.indices { kernel.elements[index] = Elementary.exp(-kernel.elements[index] / width) }
    return kernel
  }

  /// The diagonal of `C`.
  static func coefficients(
    _ kernel: Matrix<Double>, _ parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [Double] {
    let count = kernel.rows
    var c = kernel
    for index in c.elements.indices { c.elements[index] = 1 / Double(count) }
    for _ in 0..<50 {
      let product = try MatrixProduct.product(kernel, c, parallel: parallel)
      var (moved, sum) = (0.0, 0.0)
      for index in c.elements.indices where product.elements[index] > 0 {
        let next = c.elements[index] * (kernel.elements[index] / product.elements[index]).squareRoot()
        moved += abs(next - c.elements[index])
        sum += abs(c.elements[index])
        c.elements[index] = next
      }
      if moved < 0.01 * sum { break }
    }
    return (0..<count).map { c[$0, $0] }
  }

  private static func scaled(_ values: [Double]) -> [Double] {
    guard let least = values.min(), let most = values.max(), most > least else { return values.map { _ in 1 } }
    return values.map { ($0 - least) / (most - least) }
  }
}

extension UnitGroup {
  /// All weights that read a unit, one row a unit, reader after reader.
  fileprivate func readingWeights(files: FilePool) throws(Problem) -> Matrix<Double> {
    var rows = [[Double]](repeating: [], count: count)
    for member in readers {
      let shape = member.stored.shape
      let inner = shape[(member.dimension + 1)...].reduce(1, *)
      let size = shape[member.dimension]
      let owners = try owners(in: member)
      for (index, value) in try member.stored.values(files: files).enumerated() {
        let unit = owners[index / inner % size]
        if unit >= 0 { rows[unit].append(Double(value)) }
      }
    }
    return try Matrix(rows: count, columns: rows.first?.count ?? 0, elements: rows.flatMap(\.self))
  }
}
