internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints
public import EspalierNetworks

/// Finds by variation and choice which layers, channels and heads a smaller model is best made of, without training.
public struct SubnetSearch: StructuralMethod {
  public static let card = MethodCard(
    name: "search",
    summary: "widths of every layer and depth are searched for, then what is left makes up for the rest",
    source: "shen2024search",
    parameters: [
      ParameterCard(
        "population", .integer(2...1024), default: .number(8),
        "Subnets that are kept from turn to turn, and made in each."),
      ParameterCard("generations", .integer(0...1000), default: .number(20), "Turns."),
      ParameterCard(
        "score", .choice(UnitScores.channelNames), default: .word("output"),
        "Tells which units of a layer stay, and with which widths to begin."),
      ParameterCard(
        "measured", .flag, default: .flag(true),
        "Begin also with widths by what each layer was measured to lose, one run of the model a layer."),
      ParameterCard(
        "masks", .flag, default: .flag(true),
        "Every layer's units may be chosen by activation, wanda or lorap instead, whichever serves it best."),
      ParameterCard(
        "judge", .choice(["divergence", "perplexity"]), default: .word("divergence"),
        "What subnets are chosen by, on the calibration text."),
      ParameterCard("floor", .number(0...1), default: .number(0.25), "The share of a layer's units that stays."),
      ParameterCard("reform", .flag, default: .flag(true), "Repair the chosen one by least squares."),
      ParameterCard("seed", .integer(0...Int(Int32.max)), default: .number(0), "Of variation."),
    ],
    notes:
      "Begins with the same share of every layer, with widths by measured losses, where the score allows with one order "
      + "of all units and what lies between that and the same share. A turn makes as many new subnets as there are, half of "
      + "them from the best, the others from the better half, and the best of all stay, so that none is lost for a worse "
      + "one. Steps begin at a factor of 1.3 in a "
      + "width and shrink by 0.7 after each turn that found nothing better. All subnets are judged on the same windows: "
      + "give enough of them, or what is found is of that text. The source judges by perplexity and varies masks unit by "
      + "unit; its reformation of the weights is one least-squares problem a map, which is solved in closed form. Every "
      + "subnet costs a run of the model on the text."
  )
  public static let repairs = true

  private let population: Int
  private let generations: Int
  private let measures: Bool
  private let masks: [any UnitScore]
  private let usesPerplexity: Bool
  private let floor: Double
  private let reforms: Bool
  private let seed: Int

  public init(_ parameters: StructuralParameters) throws(Problem) {
    population = parameters.integer("population") ?? 8
    generations = parameters.integer("generations") ?? 20
    measures = parameters.flag("measured") ?? true
    let score = parameters.word("score") ?? "output"
    let others = parameters.flag("masks") ?? true ? ["output", "activation", "wanda", "lorap"] : []
    var masks: [any UnitScore] = []
    for name in [score] + others.filter({ $0 != score }) { masks.append(try UnitScores.score(named: name)) }
    self.masks = masks
    usesPerplexity = parameters.word("judge") == "perplexity"
    floor = parameters.number("floor") ?? 0.25
    reforms = parameters.flag("reform") ?? true
    seed = parameters.integer("seed") ?? 0
  }

  public var needs: StructuralNeed { .text }
  public var gathersStatistics: Bool { reforms || masks.contains { type(of: $0).gathersStatistics } }

  public func check(_ model: any StructuralModel, to parameters: Int) throws(Problem) {
    let least = try SubnetSpace.leastNumbers(of: model, floor: floor)
    guard least <= parameters else {
      throw Problem(
        .restructuring, "no subnet of \(parameters) numbers would be found: \(least) are the fewest to begin with",
        remedy: "Ask for more, or a lower --set floor.")
    }
  }

  public func bytes(for model: any StructuralModel, _ network: Network, lengths: [Int]) throws(Problem) -> Int {
    reforms ? LeastSquaresRepair.bytes(for: model) : 0
  }

  public func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured {
    let space = try SubnetSpace(subject, masks: masks, to: parameters, floor: floor)
    var draws = Draws(seed: seed)
    var known = Set<Subnet>()
    var best: [(subnet: Subnet, figure: Double)] = []
    var steps: [Restructured.Step] = []
    let figure = usesPerplexity ? "perplexity" : "divergence"

    var starts = space.starts
    if measures, let subnet = try space.measuredStart(in: subject) {
      starts.insert(("by what every layer was measured to lose", subnet), at: min(1, starts.count))
    }
    for (text, subnet) in starts where known.count < population && known.insert(subnet).inserted {
      let value = try judged(subnet, in: space, subject)
      best.append((subnet, value))
      steps.append(.init(text, figures: [(figure, value)]))
    }
    var reach = Self.firstReach
    let first = try begun(from: starts.map(\.subnet), in: space, known: &known, &draws, wanted: parameters)
    for subnet in first { best.append((subnet, try judged(subnet, in: space, subject))) }
    for generation in 0...generations {
      let before = best[0].figure
      if generation > 0 {
        let children = varied(best.map(\.subnet), population, by: reach, in: space, known: &known, &draws)
        guard !children.isEmpty else { break }
        for subnet in children { best.append((subnet, try judged(subnet, in: space, subject))) }
      }
      // Of equal ones that which was found first.
      best = best.enumerated().sorted { ($0.element.figure, $0.offset) < ($1.element.figure, $1.offset) }
        .prefix(population).map(\.element)
      if generation > 0, best[0].figure >= before { reach = max(Self.leastReach, reach * Self.shrinking) }
      steps.append(.init("turn \(generation): the best of \(known.count)", figures: [(figure, best[0].figure)]))
      subject.progress("\(steps[steps.count - 1].text): \(figure) \(best[0].figure)")
    }
    let chosen = best[0].subnet
    let result = Restructured(try subject.changed(space.change(chosen)), steps: steps + space.steps(chosen))
    return reforms ? try LeastSquaresRepair().repaired(result, of: subject) : result
  }

  /// Steps of the logarithm of a width: the largest, what a turn without success leaves of them, the smallest.
  private static let firstReach = 0.25
  private static let shrinking = 0.7
  private static let leastReach = 0.02

  private func judged(
    _ subnet: Subnet, in space: SubnetSpace, _ subject: any StructuralSubject
  ) throws(Problem) -> Double {
    let candidate = try subject.changed(space.change(subnet))
    return usesPerplexity
      ? try subject.perplexity(of: candidate, named: "a subnet")
      : try subject.divergence(of: candidate, named: "a subnet")
  }

  /// The first subnets beside those of the space.
  private func begun(
    from starts: [Subnet], in space: SubnetSpace, known: inout Set<Subnet>, _ draws: inout Draws, wanted: Int
  ) throws(Problem) -> [Subnet] {
    let count = population - known.count
    let found = varied(starts + [space.whole], count, by: Self.firstReach, in: space, known: &known, &draws)
    guard found.count == count else {
      throw Problem(
        .restructuring,
        "only \(known.count) subnets of about \(wanted) numbers were found, a population has \(population)",
        remedy: "Ask for another size, a lower floor, or a population of \(max(2, known.count)) or less.")
    }
    return found
  }

  /// New subnets, as many as are asked for or can be found: half of them from the first of those given, the others from
  /// the better half, some crossed with another of it.
  private func varied(
    _ all: [Subnet], _ count: Int, by reach: Double, in space: SubnetSpace, known: inout Set<Subnet>,
    _ draws: inout Draws
  ) -> [Subnet] {
    let parents = Array(all.prefix(max(2, (all.count + 1) / 2)))
    var found: [Subnet] = []
    for _ in 0..<count * 100 where found.count < count {
      var child = draws.below(2) == 0 ? all[0] : parents[draws.below(parents.count)]
      if draws.below(4) == 0 { child = space.crossed(child, parents[draws.below(parents.count)], &draws) }
      guard let subnet = space.fitted(space.mutated(child, reach: reach, &draws)), known.insert(subnet).inserted
      else { continue }
      found.append(subnet)
    }
    return found
  }
}
