internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// What enters the maps that read a unit, by its statistics.
extension UnitGroup {
  /// For every place on a reader's input the root mean square of what enters there.
  func inputScales(of member: Member, in subject: any StructuralSubject) throws(Problem) -> [Double] {
    try inputStatistics(of: member, in: subject).rootMeanSquares
  }

  /// What is known of a reader's input, as wide as the reader expects.
  func inputStatistics(of member: Member, in subject: any StructuralSubject) throws(Problem) -> SiteStatistics {
    guard let site = member.parameter.inputSite else {
      throw Problem(.restructuring, "nothing enters it", tensor: member.stored.name)
    }
    let statistics = try subject.statistics(ofSite: site)
    let width = member.stored.shape[member.dimension]
    guard statistics.width == width else {
      throw Problem(
        .restructuring, "statistics of \(statistics.width) inputs do not fit its \(width)", tensor: member.stored.name)
    }
    return statistics
  }

  func requireReaders(_ score: MethodCard) throws(Problem) {
    guard readers.isEmpty else { return }
    throw Problem(
      .restructuring, "no map reads the units of `\(axis.instance)`, whose inputs \(score.name) would weigh",
      remedy: "Score them by magnitude, or by what the model loses.")
  }

  /// For every unit the sum over all places by which it enters maps.
  ///
  /// - Parameter figures: of a map that reads units, one for each place on its input.
  /// - Throws: `restructuring` where nothing reads units, with the name of what would score them.
  func readerSums(
    _ score: MethodCard, _ figures: (Member) throws(Problem) -> [Double]
  ) throws(Problem) -> [Double] {
    try requireReaders(score)
    var sums = [Double](repeating: 0, count: count)
    for member in readers { try add(try figures(member), of: member, to: &sums) }
    return sums
  }

  /// Adds the figures of a member's places to those of the units that they belong to.
  func add(_ figures: [Double], of member: Member, to sums: inout [Double]) throws(Problem) {
    for (place, unit) in try owners(in: member).enumerated() where unit >= 0 { sums[unit] += figures[place] }
  }

  /// For every place on a reader's input `Σ w²` of its weights.
  func columnSquares(of member: Member, files: FilePool) throws(Problem) -> [Double] {
    try columnSums(of: member, files: files) { Double($0) * Double($0) }
  }
}

/// The norm of the unit's activations: Minitron's importance of neurons and heads.
public struct ActivationScore: UnitScore {
  public static let card = MethodCard(
    name: "activation", summary: "the norm of what the unit gives to the maps that read it",
    source: "sreenivas2024minitron",
    notes: "√Σ E[x²] over the unit's inputs to its readers, from statistics of the calibration text.")
  public static let needs = StructuralNeed.statistics

  public init() {}

  public func scores(
    of group: UnitGroup, in subject: any StructuralSubject, files: FilePool
  ) throws(Problem) -> [Double] {
    try group.readerSums(Self.card) { (member) throws(Problem) in
      try group.inputScales(of: member, in: subject).map { $0 * $0 }
    }.map { $0.squareRoot() }
  }
}

/// `Σ |W_ij| ‖x_j‖` over the columns that the unit enters by: Wanda's score, summed over a unit.
public struct WandaScore: UnitScore {
  public static let card = MethodCard(
    name: "wanda", summary: "weights that read the unit, times the norms of what it gives them", source: "sun2024wanda")
  public static let needs = StructuralNeed.statistics

  public init() {}

  public func scores(
    of group: UnitGroup, in subject: any StructuralSubject, files: FilePool
  ) throws(Problem) -> [Double] {
    try group.readerSums(Self.card) { (member) throws(Problem) in
      let absolute = try group.columnSums(of: member, files: files) { Double(abs($0)) }
      return zip(absolute, try group.inputScales(of: member, in: subject)).map { $0 * $1 }
    }
  }
}

/// `E‖W_S x_S‖²` where the inputs of the unit are taken as uncorrelated: what the layer's output loses without it.
public struct OutputScore: UnitScore {
  public static let card = MethodCard(
    name: "output", summary: "the mean square of what the unit adds to its layer's output", source: "li2025greedy",
    notes: "Σ_j ‖W_:j‖² E[x_j²] over the unit's inputs; comparable across the layers of one residual stream.")
  public static let needs = StructuralNeed.statistics
  public static let isComparable = true

  public init() {}

  public func scores(
    of group: UnitGroup, in subject: any StructuralSubject, files: FilePool
  ) throws(Problem) -> [Double] {
    try group.readerSums(Self.card) { (member) throws(Problem) in
      let squares = try group.columnSquares(of: member, files: files)
      return zip(squares, try group.inputScales(of: member, in: subject)).map { $0 * $1 * $1 }
    }
  }
}

/// `Σ_j ‖W_:j‖ E|x_j|`: the mean length of what the unit adds to its layer's output, token by token.
public struct HeavyHitterScore: UnitScore {
  public static let card = MethodCard(
    name: "heavy-hitters", summary: "the mean length of what the unit adds to its layer's output",
    source: "liu2024ffsplit",
    notes:
      "Σ_j ‖W_:j‖ E|x_j| over the unit's inputs. A mean where `output` has a mean square, so that what is tall on a "
      + "few tokens alone counts less. The source goes by the norm of the activation alone: score=activation.")
  public static let needs = StructuralNeed.statistics
  public static let isComparable = true

  public init() {}

  public func scores(
    of group: UnitGroup, in subject: any StructuralSubject, files: FilePool
  ) throws(Problem) -> [Double] {
    try group.readerSums(Self.card) { (member) throws(Problem) in
      let squares = try group.columnSquares(of: member, files: files)
      let means = try group.inputStatistics(of: member, in: subject).absoluteMeans
      return zip(squares, means).map { $0.squareRoot() * $1 }
    }
  }
}

extension UnitGroup {
  /// For every place on a reader's input the sum of a function of its weights.
  func columnSums(
    of member: Member, files: FilePool, _ term: (Float) -> Double
  ) throws(Problem) -> [Double] {
    let shape = member.stored.shape
    let inner = shape[(member.dimension + 1)...].reduce(1, *)
    let size = shape[member.dimension]
    var sums = [Double](repeating: 0, count: size)
    for (index, value) in try member.stored.values(files: files).enumerated() {
      sums[index / inner % size] += term(value)
    }
    return sums
  }
}
