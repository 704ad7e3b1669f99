internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

extension ModelDifference {
  /// Tensors listed unless all are asked for: those that changed most.
  static let fewTensors = 10
  static let barWidth = 20

  /// The difference for people: a line a layer with a bar of its relative change, a line a role, the tensors that
  /// changed most or all of them, and what could not be compared.
  ///
  /// - Parameter all: whether every tensor has its line, in the order of names.
  public func text(all: Bool = false, glyphs: BarGlyphs = .unicode) -> String {
    let groupTables = tensors.isEmpty ? [] : [layerTable(glyphs), Self.table("role", roles.map(Row.init))]
    let sections = [heading, uncompared] + groupTables + [tensorTable(all: all), spectrumTable(all: all)]
    return sections.filter { !$0.isEmpty }.map { $0.joined(separator: "\n") + "\n" }.joined(separator: "\n")
  }

  private var heading: [String] {
    var lines = ["A     \(locationA)\(familyA.map { " (\($0))" } ?? "")"]
    lines.append("B     \(locationB)\(familyB.map { " (\($0))" } ?? "")")
    if let locationBase { lines.append("base  \(locationBase)") }
    let changed = tensors.count { $0.change.changedCount > 0 }
    if locationBase != nil {
      lines.append("opposed: A - base and B - base differ in sign; in parts of all elements and of those both change")
    }
    lines.append("\(changed) of \(Figures.plural(tensors.count, "compared tensor")) changed")
    return lines
  }

  private var uncompared: [String] {
    var lines = mismatches.map {
      "not compared: \($0.name) is \(Figures.shape($0.shapeA)) in A, \(Figures.shape($0.shapeB)) in B"
    }
    lines += retyped.map { "types differ: \($0.name) is \($0.elementTypeA) in A, \($0.elementTypeB) in B" }
    lines += onlyInA.map { "only in A: \($0)" } + onlyInB.map { "only in B: \($0)" }
    lines += notInBase.map { "not in the base, or of another shape: \($0)" }
    for tensor in tensors where tensor.change.nonFiniteCount > 0 {
      lines.append(
        "damaged: \(tensor.name) holds \(Figures.plural(tensor.change.nonFiniteCount, "element")) that are NaN or "
          + "infinite; they are left out")
    }
    return lines + problems.map(\.description)
  }

  // MARK: - Tables

  /// A line of a table of changes.
  private struct Row {
    var name: String
    var change: Change
    var conflict: UpdateConflict?

    init(_ group: Group) { (name, change, conflict) = (group.name, group.change, group.conflict) }
    init(_ tensor: Tensor) { (name, change, conflict) = (tensor.name, tensor.change, tensor.conflict) }
  }

  private func layerTable(_ glyphs: BarGlyphs) -> [String] {
    let rows = (layers + [total]).map(Row.init)
    let greatest = rows.map(\.change.relativeChange).filter(\.isFinite).max() ?? 0
    let bars = rows.dropLast().map { row in
      let change = row.change.relativeChange
      return glyphs.bar(change.isFinite ? (greatest > 0 ? change / greatest : 0) : 1, width: Self.barWidth)
    }
    return Self.table("layer", rows, bars: bars + [""])
  }

  private static func table(_ title: String, _ rows: [Row], bars: [String] = []) -> [String] {
    var table = TextTable()
    table.add(title, align: .left, rows.map(\.name))
    table.add("rel. change", rows.map { Figures.text($0.change.relativeChange) })
    if !bars.isEmpty { table.add("", align: .left, bars) }
    table.add("cosine", rows.map { $0.change.cosine.map { Decimals.text($0, 6) } ?? "-" })
    table.add("max |change|", rows.map { Figures.text($0.change.largest) })
    table.add("changed", rows.map { Figures.percent($0.change.changedFraction) })
    table.add("near zero", rows.map { Figures.percent($0.change.nearZeroFraction) })
    if rows.contains(where: { $0.conflict != nil }) {
      table.add("opposed", rows.map { $0.conflict.map { Figures.percent($0.opposedFraction) } ?? "-" })
      table.add("of both", rows.map { $0.conflict.map { Figures.percent($0.opposedShare) } ?? "-" })
      table.add("update cosine", rows.map { Figures.text($0.conflict?.cosine) })
    }
    return table.lines
  }

  private func tensorTable(all: Bool) -> [String] {
    let listed = listed(all: all)
    guard !listed.isEmpty else { return [] }
    let title = all ? "tensor" : "tensors that changed most"
    return Self.table(title, listed.map(Row.init))
  }

  private func spectrumTable(all: Bool) -> [String] {
    SpectrumTable.lines(listed(all: all).compactMap { tensor in tensor.spectrum.map { ("B - A, \(tensor.name)", $0) } })
  }

  /// All tensors by name, or the few with the greatest relative change; ties by name.
  private func listed(all: Bool) -> [Tensor] {
    guard !all else { return tensors }
    let changed = tensors.indices.filter { tensors[$0].change.changedCount > 0 }
    let order = changed.sorted {
      (tensors[$1].change.relativeChange, $0) < (tensors[$0].change.relativeChange, $1)
    }
    return order.prefix(Self.fewTensors).map { tensors[$0] }
  }
}
