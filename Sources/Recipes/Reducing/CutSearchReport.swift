public import EspalierBasics
internal import EspalierEvaluation

/// What a search for a cut found, for people and programs.
public struct CutSearchReport: Sendable {
  /// In the order in which they were tried.
  public let trials: [CutTrial]
  /// Index of the best trial above the model as it is, the earliest of equals; nil if none is.
  public let best: Int?
  public let seconds: Double
  private let model: String
  private let original: CutMeasurement

  init(model: String, original: CutMeasurement, trials: [CutTrial], best: Int?, seconds: Double) {
    (self.model, self.original, self.trials, self.best, self.seconds) = (model, original, trials, best, seconds)
  }

  public var bestTrial: CutTrial? { best.map { trials[$0] } }

  /// Trials from the best to the worst, of equals the earlier first; those without a finite score last.
  var ranked: [CutTrial] {
    func rank(_ index: Int) -> Double {
      trials[index].score.value.isFinite ? trials[index].score.value : -.infinity
    }
    return trials.indices.sorted { rank($0) != rank($1) ? rank($0) > rank($1) : $0 < $1 }.map { trials[$0] }
  }

  /// Trials that score above the model as it is.
  public var improvements: Int { trials.count { $0.score.value > original.score } }

  /// The best trials, a line each.
  public func table(most: Int = 20) -> String {
    let shown = ranked.prefix(most)
    let answers = original.label == "right"
    func percent(_ value: Double?) -> String { value.map { FigureStyle.signed(100 * $0, 2) } ?? "-" }
    var table = TextTable()
    table.add("matrix", align: .left, shown.map(\.matrix))
    table.add("rank", shown.map { "\($0.rank)" })
    table.add("of", shown.map { "\($0.shape.min() ?? 0)" })
    table.add(
      answers ? "right, %" : original.label,
      shown.map { trial in
        let value = trial.figure("value")
        return answers ? value.map { Decimals.text(100 * $0, 2) } ?? "-" : Figures.text(value, significant: 5)
      })
    table.add(answers ? "change, points" : "change, %", shown.map { percent($0.figure("change")) })
    table.add("95 % interval", shown.map { "\(percent($0.figure("lower"))) to \(percent($0.figure("upper")))" })
    if answers {
      table.add("gained", shown.map { $0.figure("gained").map { Decimals.text($0, 0) } ?? "-" })
      table.add("lost", shown.map { $0.figure("lost").map { Decimals.text($0, 0) } ?? "-" })
      table.add("McNemar p", shown.map { Figures.text($0.figure("p"), significant: 2) })
    }
    return table.lines.joined(separator: "\n")
  }

  public func text(most: Int = 20) -> String {
    var lines = [
      "\(model) as it is on \(original.header.data): \(original.text)",
      "\(Figures.plural(trials.count, "cut")) tried in \(Decimals.text(seconds, 1)) s, \(improvements) score above it",
      "", table(most: most),
    ]
    if trials.count > most { lines.append("... and \(trials.count - most) more") }
    lines.append("")
    if let bestTrial {
      lines.append(
        "chosen: \(bestTrial.matrix) to rank \(bestTrial.rank) of \(bestTrial.shape.min() ?? 0)")
      lines.append(
        "Each interval and p is of one cut by itself. Of \(trials.count) some look better by chance, and the chosen one "
          + "most of all: what it is worth is seen on held-out data.")
    } else {
      lines.append("No cut helps: the model is best as it is.")
    }
    return lines.joined(separator: "\n") + "\n"
  }

  public var json: JSON {
    [
      "model": .string(model), "data": .string(original.header.data),
      "protocol": .string(original.header.protocolText), "measure": .string(original.label),
      "original_score": .number(original.score), "improvements": .number(improvements),
      "seconds": .number(seconds), "best": bestTrial.map(Self.json) ?? .null,
      "trials": .array(ranked.map(Self.json)),
    ]
  }

  private static func json(_ trial: CutTrial) -> JSON {
    [
      "matrix": .string(trial.matrix), "shape": .array(trial.shape.map { .number($0) }),
      "share": .number(trial.share), "rank": .number(trial.rank), "score": .number(trial.score.value),
      "figures": .object(trial.score.figures.map { ($0.name, .number($0.value)) }),
    ]
  }
}
