public import EspalierBasics

extension RecipeSearchReport {
  /// The trials as a table for a person, in their order; the best has a star. Numbers as `format` writes them.
  public func table(scoreName: String = "score", format: (Double) -> String = { "\($0)" }) -> String {
    var table = TextTable()
    table.add("", align: .left, trials.map { $0.number == best ? "*" : "" })
    table.add("trial", align: .left, trials.map { "\($0.number)" })
    for (index, variable) in variables.enumerated() {
      table.add(variable, align: .left, trials.map { $0.candidate.values[index] })
    }
    table.add(scoreName, align: .left, trials.map { format($0.score.value) })
    for name in figureNames {
      let values = trials.map { trial in trial.score.figures.first { ExactString($0.name) == ExactString(name) }?.value
      }
      table.add(name, align: .left, values.map { $0.map(format) ?? "" })
    }
    return table.lines.joined(separator: "\n")
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
