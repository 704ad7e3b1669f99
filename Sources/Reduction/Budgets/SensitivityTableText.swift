internal import EspalierBasics
internal import EspalierNumerics

extension SensitivityTable {
  /// The table to be read: one line a matrix, one column a level, relative errors with three digits. What is not of the
  /// commonest kind is marked: `~` an estimate, `<` a bound, `=` exact, `*` measured; the first line says the kind of the
  /// others. The effect is the model's divergence, in nats a token, for an error of 1 squared.
  public var text: String {
    let levels = rows.flatMap(\.levels)
    var budgets: [MatrixBudget] = []
    var seen: Set<MatrixBudget> = []
    for level in levels where seen.insert(level.budget).inserted { budgets.append(level.budget) }
    // Of equally common kinds the first by name.
    let kind = Set(levels.map(\.kind)).min { a, b in
      let (x, y) = (levels.count { $0.kind == a }, levels.count { $0.kind == b })
      return x != y ? x > y : a.rawValue < b.rawValue
    }
    var table = TextTable()
    table.add("matrix", align: .left, rows.map(\.name))
    table.add("shape", align: .left, rows.map { $0.shape.map(String.init).joined(separator: " x ") })
    if rows.contains(where: { $0.effect != nil }) {
      table.add("effect", rows.map { $0.effect.map { Self.digits($0) } ?? "" })
    }
    for budget in budgets {
      table.add(
        "\(budget)",
        rows.map { row in
          guard let level = row.levels.first(where: { $0.budget == budget }) else { return "" }
          return (level.kind == kind ? "" : level.kind.mark) + Self.digits(level.relativeError)
        })
    }
    let parameters = record.parameters.sorted { $0.key < $1.key }.map { " \($0.key)=\($0.value)" }.joined()
    let head = "\(record.method)\(parameters): \(record.norm)" + (kind.map { " (\($0.rawValue))" } ?? "")
    let effects = record.effects.map { ["effects on \($0)"] } ?? []
    return ([head] + effects + table.lines).joined(separator: "\n") + "\n"
  }

  /// Three significant digits.
  private static func digits(_ value: Double) -> String {
    guard value > 0 else { return "0" }
    if (0.000995...999.4).contains(value) {
      return value < 0.0995
        ? Decimals.text(value, value < 0.00995 ? 5 : 4)
        : value < 0.995 ? Decimals.text(value, 3) : Decimals.significant(value)
    }
    var (mantissa, exponent) = (value, 0)
    while mantissa < 0.9995 { (mantissa, exponent) = (mantissa * 10, exponent - 1) }
    while mantissa >= 9.995 { (mantissa, exponent) = (mantissa / 10, exponent + 1) }
    return "\(Decimals.text(mantissa, 2))e\(exponent)"
  }
}

extension Certificate.Kind {
  fileprivate var mark: String {
    switch self {
    case .exact: "="
    case .bound: "<"
    case .estimate: "~"
    case .measured: "*"
    }
  }
}
