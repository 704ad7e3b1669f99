public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// Reorders the axes of a model so that its weights agree with another's as much as they can.
///
///     maximize Σ_p w_p ⟨A_p, P(B_p)⟩       over one permutation an axis, shared by every parameter that carries it
///
/// by coordinate descent: with all other axes as they are, the best order of one is a linear assignment (Ainsworth,
/// Hayase, Srinivasa, ICLR 2023, arXiv:2209.04836, section 3.2 and algorithm 1). Heads are matched with all that lies
/// inside them, as are experts: each pair as well as it can be. The paper's weights w are 1; see
/// ``AlignmentOptions/Weighing``.
///
/// Where the paper starts from the order as it is, this first goes along what is known: an axis is matched by those of
/// its parameters whose other axes are matched already, beginning with those that have no other free axis, such as the
/// embedding, whose tokens do not move. A permuted copy is thereby found at once.
public struct WeightMatching: Sendable {
  /// What the model's parameters mean.
  public let description: ModelDescription
  let pairs: [AlignmentPair]
  let groups: [AlignmentGroup]
  let workers: WorkerPool
  let files = FilePool()
  /// Places in `pairs` of experts' parameters, those of the parameters along each group, and the groups that share one
  /// with each.
  let experts: [ExpertKey: Int]
  let carriers: [[Int]]
  let neighbours: [Set<Int>]
  let options: AlignmentOptions

  /// - Parameters:
  ///   - model: what is reordered.
  ///   - reference: what it is brought near: a model of the same family, with the same sizes.
  /// - Throws: everything in which the two do not fit, all at once.
  public init(
    _ model: any Checkpoint, to reference: any Checkpoint, of family: Architecture,
    options: AlignmentOptions = AlignmentOptions(), workers: WorkerPool
  ) throws(Problems) {
    let pairs = try AlignmentPair.all(model, to: reference, of: family)
    let groups: [AlignmentGroup]
    do throws(Problem) {
      description = try family.describe(config: model.config ?? .object([]))
      groups = try AlignmentGroup.all(of: pairs.map(\.described), keeping: options.keeping)
      try Self.check(options.keeping, pairs)
      guard !groups.isEmpty else { throw Problem(.restructuring, "the models have no axis that may be reordered") }
    } catch { throw Problems([error]) }
    let along = groups.map { group in
      pairs.indices.filter { place in
        let described = pairs[place].described
        return described.dimensions.contains { $0.axes.contains(where: group.holds) }
          || (group.hasExperts && described.expert != nil && described.expertsInstance == group.root.instance)
      }
    }
    neighbours = groups.indices.map { group in
      let own = Set(along[group])
      return Set(groups.indices.filter { $0 != group && !own.isDisjoint(with: along[$0]) })
    }
    experts = Dictionary(
      pairs.indices.compactMap { place in
        pairs[place].described.expert.map { (ExpertKey(pairs[place].described, expert: $0), place) }
      }, uniquingKeysWith: { first, _ in first })
    (self.pairs, self.groups, carriers) = (pairs, groups, along)
    (self.workers, self.options) = (workers, options)
  }

  /// - Throws: `restructuring` if an axis that is to stay is none of the models'.
  private static func check(_ keeping: Set<String>, _ pairs: [AlignmentPair]) throws(Problem) {
    let axes = pairs.flatMap { $0.described.dimensions.flatMap(\.axes) }
    let known = Set(axes.filter { $0.permutation == .free && !$0.isVocabulary }.map(\.name))
    guard let unknown = keeping.subtracting(known).min() else { return }
    throw Problem(
      .restructuring, "the models have no axis `\(unknown)` that could change its order",
      remedy: "Axes that can: \(known.sorted().joined(separator: ", ")).")
  }

  /// Bytes that matching takes at the most: two copies of the largest matrix, or of pieces of one, and the agreements of
  /// an axis.
  ///
  /// - Parameter threads: that compare experts at once.
  public func workingBytes(threads: Int) -> Int {
    let matrices = pairs.filter { $0.described.vocabularyDimension == nil }
    let largest = matrices.map(\.reference.elementCount).max() ?? 0
    let piece = min(pairs.map(\.reference.elementCount).max() ?? 0, ParameterProducts.pieceFloats)
    let widest = groups.map { $0.root.size * $0.inner.reduce(1) { $0 * $1.size } }.max() ?? 0
    let floats = max(3 * largest * (experts.isEmpty ? 1 : threads), 3 * piece)
    // Gains and the assignment are in float64; grams are of the widest axis, a few of them.
    return MemoryLayout<Float>.stride * (floats + 10 * widest * widest)
  }

  struct ExpertKey: Hashable {
    let tower: String
    let familyName: String
    let layer: Int?
    let expert: Int

    init(_ described: ParameterDescription, expert: Int) {
      (tower, familyName) = (described.tower, described.familyName)
      (layer, self.expert) = (described.layer, expert)
    }
  }

  /// A matching of every group.
  struct State {
    var orders: [GroupOrder]
    var mutual: [Double]
    /// The axes' orders as choices of entries.
    var choices: [String: AxisChoice] = [:]
    var sweeps = 0
    /// Norms of the reference's parameters and of the model's.
    var norms: [(reference: Double, model: Double)] = []
  }
}
