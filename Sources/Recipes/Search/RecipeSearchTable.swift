public import EspalierBasics

extension RecipeSearchReport {
  /// The trials as a table for a person, in their order; the best has a star. Numbers as `format` writes them.
  public func table(scoreName: String = "score", format: (Double) -> String = { "\($0)" }) -> String {
    let figures = figureNames
    var rows = [["", "trial"] + variables + [scoreName] + figures]
    for trial in trials {
      let values = figures.map { name in
        trial.score.figures.first { ExactString($0.name) == ExactString(name) }.map { format($0.value) } ?? ""
      }
      rows.append(
        [trial.number == best ? "*" : "", "\(trial.number)"] + trial.candidate.values + [format(trial.score.value)]
          + values)
    }
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      zip(row, widths).map { $0 + String(repeating: " ", count: $1 - $0.count) }.joined(separator: "  ").trimmed
    }.joined(separator: "\n")
  }

  /// The trials for a program, with the best one's number; a score that is not finite is null.
  public var json: JSON {
    [
      "complete": .bool(isComplete), "best": best.map { .number($0) } ?? .null,
      "trials": .array(
        trials.map { trial in
          [
            "trial": .number(trial.number), "recipe": .string(trial.candidate.digest.description),
            "values": .object(zip(variables, trial.candidate.values).map { ($0, .string($1)) }),
            "score": .number(trial.score.value),
            "figures": .object(trial.score.figures.map { ($0.name, .number($0.value)) }),
          ]
        }),
    ]
  }

  /// Names of all figures, in the order in which they first appear.
  private var figureNames: [String] {
    var names: [String] = []
    for name in trials.flatMap(\.score.figures).map(\.name)
    where !names.contains(where: { ExactString($0) == ExactString(name) }) {
      names.append(name)
    }
    return names
  }
}

extension String {
  /// Without spaces at its end.
  fileprivate var trimmed: String {
    var view = self[...]
    while view.last == " " { view.removeLast() }
    return String(view)
  }
}
