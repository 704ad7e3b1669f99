internal import EspalierArchitectures
public import EspalierBasics
internal import EspalierCheckpoints

/// Heads leave that make the model go on differently from prompts that it should treat alike.
public struct FairnessHeads: StructuralMethod {
  public static let card = MethodCard(
    name: "fairness",
    summary: "heads leave that add most to a bias between paired prompts, but for those quality needs",
    source: "zayed2024fasp",
    parameters: [
      ParameterCard(
        "spare", .number(0...1), default: .number(0.3),
        "Share of heads that stay whatever their bias: those without which perplexity rises most.")
    ],
    notes: "Needs --pairs: JSON lines {\"a\", \"b\"} of prompts that differ in the group alone. The bias is the mean "
      + "Jensen-Shannon divergence of the next token behind the two, in nats; the source has a classifier judge "
      + "continuations. Every head is left out by itself, and its effect on the bias and on the perplexity of the "
      + "calibration text measured; of those that are not spared the heads leave without which the bias is least. Heads "
      + "that share keys leave together; no layer loses its last. Once heads that lower the bias are gone, a goal that is "
      + "not reached takes others too.")
  public static let needsPairs = true

  private let spared: Double

  public init(_ parameters: StructuralParameters) throws(Problem) { spared = parameters.number("spare") ?? 0.3 }

  public var needs: StructuralNeed { .text }

  public func check(_ model: any StructuralModel, to parameters: Int) throws(Problem) {
    let groups = try UniformWidth.groups("heads", of: model)
    try WidthAllocation(groups, of: model, to: parameters).requireReachable(leaving: groups.map { $0.count - 1 })
  }

  /// A head, and what leaving it out alone does.
  private struct Head {
    let group: UnitGroup
    let unit: Int
    let bias: Double
    let perplexity: Double
  }

  public func restructure(_ subject: any StructuralSubject, to parameters: Int) throws(Problem) -> Restructured {
    let (bias, perplexity) = (
      try subject.bias(of: subject.checkpoint, named: "model"),
      try subject.perplexity(of: subject.checkpoint, named: "model")
    )
    let heads = try measured(in: subject, bias: bias, perplexity: perplexity)
    let byQuality = heads.indices.sorted { (-heads[$0].perplexity, $0) < (-heads[$1].perplexity, $1) }
    let open = byQuality.dropFirst(Int((spared * Double(heads.count)).rounded()))
    var change = StructuralChange()
    var checkpoint = try subject.changed(change)
    var steps: [Restructured.Step] = []
    func left() -> Int { ParameterCount.of(checkpoint, described: checkpoint.description) }
    for index in open.sorted(by: { (heads[$0].bias, $0) < (heads[$1].bias, $1) }) where left() > parameters {
      let head = heads[index]
      let instance = head.group.axis.instance
      let kept = (change.choices[instance]?.lists.first ?? Array(0..<head.group.count)).filter { $0 != head.unit }
      guard !kept.isEmpty else { continue }
      change.choices[instance] = AxisChoice(kept)
      checkpoint = try subject.changed(change)
      steps.append(
        .init(
          "\(instance): \(head.unit) leaves",
          figures: [("change of bias alone", head.bias), ("change of perplexity alone", head.perplexity)]))
      subject.progress(steps[steps.count - 1].text)
    }
    guard left() <= parameters else {
      throw Problem(
        .restructuring, "\(parameters) numbers cannot be reached by heads that are not spared: \(left()) can",
        remedy: "Ask for more, or spare fewer: --set spare=\(spared / 2).")
    }
    steps.append(
      .init(
        "bias of the pairs",
        figures: [("before", bias), ("after", try subject.bias(of: checkpoint, named: "result"))]))
    steps.append(
      .init(
        "perplexity of the calibration text",
        figures: [("before", perplexity), ("after", try subject.perplexity(of: checkpoint, named: "result"))]))
    return Restructured(checkpoint, steps: steps)
  }

  /// Every head that may leave, left out by itself.
  private func measured(
    in subject: any StructuralSubject, bias: Double, perplexity: Double
  ) throws(Problem) -> [Head] {
    var heads: [Head] = []
    for group in try UniformWidth.groups("heads", of: subject) where group.count > 1 {
      for unit in 0..<group.count {
        let rest = (0..<group.count).filter { $0 != unit }
        let name = "\(group.axis.instance) without \(unit)"
        let candidate = try subject.changed(StructuralChange(choices: [group.axis.instance: AxisChoice(rest)]))
        let head = Head(
          group: group, unit: unit, bias: try subject.bias(of: candidate, named: name) - bias,
          perplexity: try subject.perplexity(of: candidate, named: name) - perplexity)
        subject.progress("\(name): bias \(head.bias), perplexity \(head.perplexity)")
        heads.append(head)
      }
    }
    return heads
  }
}
