internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// LoRAP's importance of a channel: the norm of all its weights, each times the norm of what it is multiplied with.
///
///     score² = Σ over maps that make the unit (|w_ij| ‖x_j‖)² + Σ over maps that read it (|w_oi| ‖h_i‖)²
///
/// That the parts of a unit are added by squares is our choice, as in the method `lorap` of `espalier factorize`.
public struct LorapScore: UnitScore {
  public static let card = MethodCard(
    name: "lorap", summary: "the norm of all weights of the unit, each times the norm of its input",
    source: "li2024lorap",
    notes: "With the method `lorap` of `espalier factorize` on what is left of attention this is LoRAP whole: "
      + "Examples/steps/lorap.yml.")
  public static let needs = StructuralNeed.statistics

  public init() {}

  public func scores(
    of group: UnitGroup, in subject: any StructuralSubject, files: FilePool
  ) throws(Problem) -> [Double] {
    try group.requireReaders(Self.card)
    var squares = [Double](repeating: 0, count: group.count)
    for member in group.members where member.stored.shape.count == 2 {
      guard let site = member.parameter.inputSite else { continue }
      if member.isReader {
        let columns = try group.columnSquares(of: member, files: files)
        let scales = try group.inputScales(of: member, in: subject)
        try group.add(zip(columns, scales).map { $0 * $1 * $1 }, of: member, to: &squares)
      } else {
        let inputs = try subject.statistics(ofSite: site).rootMeanSquares
        guard inputs.count == member.stored.shape[1 - member.dimension] else {
          throw Problem(
            .restructuring, "statistics of \(inputs.count) inputs do not fit it", tensor: member.stored.name)
        }
        let sums = try group.sums(over: member, values: try member.stored.values(files: files)) { value, place in
          let weighted = Double(value) * inputs[place]
          return weighted * weighted
        }
        for unit in squares.indices { squares[unit] += sums[unit] }
      }
    }
    return squares.map { $0.squareRoot() }
  }
}
