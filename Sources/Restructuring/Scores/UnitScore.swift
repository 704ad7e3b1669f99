public import EspalierBasics
public import EspalierCheckpoints

/// A figure of every unit of a group: the lower, the less the model needs it.
///
/// Scores of one kind can be compared within a group; across layers only where their card says so.
public protocol UnitScore: Sendable {
  static var card: MethodCard { get }
  static var needs: StructuralNeed { get }
  /// Whether it asks for statistics.
  static var gathersStatistics: Bool { get }
  /// Whether figures of different layers say what each costs the model, so that the least of all may leave first.
  static var isComparable: Bool { get }
  /// Whether it scores experts, and them alone.
  static var isOfExperts: Bool { get }
  init()

  /// - Returns: one figure a unit, in the order of the axis.
  func scores(of group: UnitGroup, in subject: any StructuralSubject, files: FilePool) throws(Problem) -> [Double]
}

extension UnitScore {
  public static var gathersStatistics: Bool { needs == .statistics }
  public static var isComparable: Bool { false }
  public static var isOfExperts: Bool { false }
}

/// All scores by name.
public enum UnitScores {
  public static let all: [any UnitScore.Type] = [
    MagnitudeScore.self, ActivationScore.self, WandaScore.self, OutputScore.self, LorapScore.self,
    HeavyHitterScore.self, DivergenceScore.self, GradientFreeScore.self,
    ExpertUseScore.self, ExpertNormScore.self, RouterChangeScore.self,
  ]

  /// Those of channels and heads.
  public static var channelNames: [String] { all.filter { !$0.isOfExperts }.map { $0.card.name } }

  /// - Throws: `restructuring` for a name that no score has.
  public static func score(named name: String) throws(Problem) -> any UnitScore {
    if let score = all.first(where: { $0.card.name == name }) { return score.init() }
    throw Problem(
      .restructuring, "there is no score `\(name)`",
      remedy: "Scores: \(all.map { $0.card.name }.joined(separator: ", ")).")
  }
}

extension UnitGroup {
  /// For every unit the sum of a function of its values in one member, in float64, in stored order.
  ///
  /// - Parameter term: of a value and its place: of the entry on the other dimensions, slowest first, as one number.
  func sums(
    over member: Member, values: [Float], _ term: (_ value: Float, _ place: Int) -> Double
  ) throws(Problem) -> [Double] {
    var sums = [Double](repeating: 0, count: count)
    let shape = member.stored.shape
    let inner = shape[(member.dimension + 1)...].reduce(1, *)
    let size = shape[member.dimension]
    let owners = try owners(in: member)
    for (index, value) in values.enumerated() {
      let unit = owners[index / inner % size]
      if unit >= 0 { sums[unit] += term(value, index / (inner * size) * inner + index % inner) }
    }
    return sums
  }

  /// The unit that each place of the member's dimension belongs to; -1 for none.
  func owners(in member: Member) throws(Problem) -> [Int] {
    var owners = [Int](repeating: -1, count: member.stored.shape[member.dimension])
    for unit in 0..<count { for place in try places(of: [unit], in: member) { owners[place] = unit } }
    return owners
  }
}
