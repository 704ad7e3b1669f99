public import EspalierBasics
internal import EspalierLinearMaps
public import EspalierNumerics

/// The loss along the straight line between two models, and how high it rises above the straight line between their
/// losses.
///
///     barrier = max over points of  L((1 - λ) A + λ B) - ((1 - λ) L(A) + λ L(B))
///
/// L is the mean negative log-likelihood of a token (Frankle et al., ICML 2020, arXiv:1912.05671; with the sloping line of
/// Entezari et al., ICLR 2022, arXiv:2110.06296, equation 1). The windows of all points are drawn together. The interval
/// of the barrier is that of the rise at the point where it is highest, as if that had been known before.
public struct LinearPath: Metric {
  public static let name = "linear_path"
  public static let title = "Loss along the linear path"

  public struct Point: Sendable, Hashable {
    /// λ: the share of the second model.
    public let weight: Double
    /// Nats a token.
    public let loss: Estimate
    /// Above the straight line between the ends.
    public let rise: Estimate
  }

  public let header: MetricHeader
  public let points: [Point]

  /// - Parameters:
  ///   - weights: λ of each, ascending; the first and the last are 0 and 1.
  ///   - losses: of the models at these points on the same text.
  /// - Throws: `evaluation.pair` if they were not measured on the same tokens, or the ends are missing.
  public init(weights: [Double], losses: [Perplexity]) throws(Problem) {
    guard weights.count == losses.count, let first = losses.first, let last = losses.last, weights.first == 0,
      weights.last == 1, weights.count > 1
    else { throw Problem(.evaluationPair, "a path begins with the one model, at 0, and ends with the other, at 1") }
    for loss in losses {
      guard loss.header.protocolText == first.header.protocolText,
        loss.windows.map(\.tokens) == first.windows.map(\.tokens)
      else {
        throw Problem(
          .evaluationPair, "the points of the path were not measured on the same tokens by the same protocol")
      }
    }
    let bootstrap = first.header.sampling.bootstrap
    points = zip(weights, losses).map { weight, loss in
      let above = loss.unitSums.indices.map { unit in
        loss.unitSums[unit] - ((1 - weight) * first.unitSums[unit] + weight * last.unitSums[unit])
      }
      // At the ends nothing can rise: no rounding is to tell otherwise.
      let rise = weight == 0 || weight == 1 ? Estimate(0) : bootstrap.ratio(above, loss.unitTokens)
      return Point(weight: weight, loss: loss.negativeLogLikelihood, rise: rise)
    }
    header = MetricHeader(
      subject: .pair, models: [first.header.models[0], last.header.models[0]],
      modes: [first.header.modes[0], last.header.modes[0]], data: first.header.data,
      protocolText: first.header.protocolText, counts: first.header.counts, sampling: first.header.sampling)
  }

  /// The point that lies highest above the line between the ends; the first of equal ones.
  public var highest: Point {
    points.reduce(points[0]) { $1.rise.value > $0.rise.value ? $1 : $0 }
  }

  /// Whether no point rises above the line between the ends by more than `limit` nats.
  ///
  /// - Parameter strict: judges the upper end of the barrier's interval, where it has one.
  public func keeps(_ limit: Double, strict: Bool) -> Bool {
    let rise = highest.rise
    return (strict ? rise.interval?.upper ?? rise.value : rise.value) <= limit
  }

  /// A line a point: share of the second model, loss and rise with their intervals.
  public var pointsText: String {
    func interval(_ estimate: Estimate) -> String {
      estimate.interval.map { "\(Decimals.text($0.lower, 4)) to \(Decimals.text($0.upper, 4))" } ?? ""
    }
    var table = TextTable()
    table.add("share", points.map { Decimals.text($0.weight, 3) })
    table.add("loss", points.map { Decimals.text($0.loss.value, 4) })
    table.add("", align: .left, points.map { interval($0.loss) })
    table.add("rise", points.map { Decimals.text($0.rise.value, 4) })
    table.add("", align: .left, points.map { interval($0.rise) })
    return ([header.data] + table.lines.map { "  \($0)" }).joined(separator: "\n")
  }

  public var figures: [Figure] {
    let top = highest
    return [
      Figure("barrier", "barrier, nats a token", top.rise),
      Figure("barrier_at", "where it is highest", top.weight),
      Figure("loss_at_barrier", "loss there", top.loss),
      Figure("loss_first", "loss of the first", points[0].loss),
      Figure("loss_last", "loss of the last", points[points.count - 1].loss),
    ]
  }

  public var sentences: [String] {
    let top = highest
    guard top.rise.value > 0 else { return ["No point between lies above the line between the ends: no barrier."] }
    return [
      "The loss rises by \(Decimals.text(top.rise.value, 4)) nats a token above the line between the ends, most at "
        + "\(Decimals.text(top.weight, 3))."
    ]
  }

  public var details: [(String, JSON)] {
    func members(_ name: String, _ estimate: Estimate) -> [(String, JSON)] {
      [(name, .number(estimate.value))]
        + (estimate.interval.map { [("\(name)_interval", .array([.number($0.lower), .number($0.upper)]))] } ?? [])
    }
    return [
      (
        "points",
        .array(
          points.map { .object([("weight", .number($0.weight))] + members("loss", $0.loss) + members("rise", $0.rise)) }
        )
      )
    ]
  }
}
