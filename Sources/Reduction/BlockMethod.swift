public import EspalierBasics
public import EspalierCheckpoints
public import EspalierNumerics

/// A way of making the matrices of one transformer block smaller together, against one share of their numbers, which it
/// deals out itself.
///
/// Like a ``ReductionMethod`` it is a value and knows nothing of files, models or threads. Adding one takes a file, a line
/// in ``ReductionMethods`` and a test.
public protocol BlockMethod: Sendable {
  static var card: MethodCard { get }
  /// What it takes and makes, for the reference.
  static var inputs: String { get }
  /// Whether it reduces matrices outside of the feed-forward sub-layer too; otherwise they stay as they are.
  static var reducesOthers: Bool { get }
  /// What it has to know of the inputs of each matrix, at least their sums by column.
  var needs: StatisticsNeed { get }

  /// - Parameter share: of the numbers of each block that stays, above 0 and at most 1.
  /// - Throws: `reduction` for parameters that the card does not allow, and a share that they leave nothing of.
  init(_ parameters: ReductionParameters, share: Double) throws(Problem)

  /// The matrices of a block in a smaller form.
  ///
  /// - Parameters:
  ///   - matrices: those of the feed-forward sub-layer all or not at all.
  ///   - parallel: the loop that shares the work; it changes no bit of the result.
  /// - Returns: one a matrix, in their order.
  /// - Throws: `reduction` for a share that a shape does not allow, or a sub-layer that is not whole; `matrix.shape`.
  func reduce(
    _ matrices: [BlockMatrix], parallel: MatrixProduct.ParallelLoop
  ) throws(Problem) -> [BlockMatrix.Outcome]
}

/// A matrix of a block, as a ``BlockMethod`` sees it.
public struct BlockMatrix: Sendable {
  /// What it is in its block.
  public enum Part: Sendable, Hashable { case gate, up, down, other }

  /// What a method makes of it.
  public struct Outcome: Sendable {
    public var form: ReducedMatrix.Form
    /// What a plain method is given for comparison.
    public var budget: MatrixBudget
    /// The budget in words; nil for those of ``budget``.
    public var text: String?
  }

  /// For messages.
  public var name: String
  public var part: Part
  /// `[outputs, inputs]`.
  public var weight: Matrix<Float>
  public var statistics: SiteStatistics?

  public init(_ name: String, _ part: Part, _ weight: Matrix<Float>, _ statistics: SiteStatistics?) {
    self.name = name
    self.part = part
    self.weight = weight
    self.statistics = statistics
  }
}

extension FeedForwardBlock {
  /// The sub-layer that is among a block's matrices, with the statistics of its inputs and of what enters `down`; nil if
  /// none of it is there.
  ///
  /// - Throws: `reduction` if it is there in parts, or several times; `matrix.shape`.
  static func find(
    in matrices: [BlockMatrix], method: String
  ) throws(Problem) -> (block: FeedForwardBlock, inputs: SiteStatistics, neurons: SiteStatistics)? {
    func only(_ part: BlockMatrix.Part) -> BlockMatrix? {
      let found = matrices.filter { $0.part == part }
      return found.count == 1 ? found[0] : nil
    }
    let parts = matrices.filter { $0.part != .other }
    guard let first = parts.first else { return nil }
    let gate = only(.gate)
    guard let up = only(.up), let down = only(.down), parts.count == (gate == nil ? 2 : 3),
      let inputs = up.statistics, let neurons = down.statistics
    else {
      throw Problem(.reduction, "\(method) needs one feed-forward sub-layer whole, and its inputs", tensor: first.name)
    }
    do throws(Problem) {
      let block = try FeedForwardBlock(gate: gate?.weight, up: up.weight, down: down.weight)
      try block.check(inputs: inputs, neurons: neurons, method: method)
      return (block, inputs, neurons)
    } catch { throw error.at(tensor: up.name) }
  }

  /// The matrix of a part; nil for what is no part of the sub-layer.
  subscript(part: BlockMatrix.Part) -> Matrix<Float>? {
    switch part {
    case .gate: gate
    case .up: up
    case .down: down
    case .other: nil
    }
  }
}
