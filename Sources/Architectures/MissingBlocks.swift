import EspalierBasics

/// What remains of the layers of a tower where blocks are missing.
///
/// A block is all that is computed for one addition to the stream between layers. Without it the addition goes, and with
/// it every statement whose result nobody reads any more, and every parameter that only such statements read.
struct MissingBlocks {
  private let tower: TowerTemplate
  private let program: ProgramTemplate
  /// Slots that are read outside the layer that writes them, or seen from outside.
  private var exposed: Set<String> = []

  /// Nil if no layer of the tower lacks a block.
  ///
  /// - Parameters:
  ///   - scope: of the family's formulas.
  ///   - entries: of all towers.
  init?(
    of tower: TowerTemplate, in architecture: Architecture, scope: Scope, entries: [String: [LayerEntry]]
  ) throws(Problem) {
    guard let program = tower.program, entries[tower.name]?.contains(where: { !$0.missing.isEmpty }) ?? false else {
      return nil
    }
    self.tower = tower
    self.program = program
    for other in architecture.towers { try expose(other, in: scope, entries: entries[other.name]) }
  }

  private mutating func expose(
    _ tower: TowerTemplate, in scope: Scope, entries: [LayerEntry]?
  ) throws(Problem) {
    guard let program = tower.program else { return }
    exposed.formUnion(program.outputs.values.flatMap { $0.map(\.slot) })
    guard tower.repetition == nil else {
      // Which of a repeated tower's statements run is not asked: whatever they read may be read.
      for section in ProgramTemplate.sections { exposed.formUnion(program.statements(of: section).flatMap(\.inputs)) }
      return
    }
    if let condition = tower.condition, try !condition.truth(in: scope) { return }
    for statements in [program.before, program.after, program.head] { try expose(statements, in: scope) }
    let count = try tower.layerCount?.integer(in: scope) ?? 0
    let kinds = try tower.kinds(of: count, in: scope)
    for layer in 0..<count {
      let kind = kinds.isEmpty ? nil : kinds[layer]
      try expose(
        program.layer, in: tower.scope(ofLayer: layer, kind: kind, entry: entries?[layer], in: scope))
    }
  }

  /// Adds what a section reads without having written it.
  private mutating func expose(_ statements: [StatementTemplate], in scope: Scope) throws(Problem) {
    var written: Set<String> = []
    for statement in try Self.running(statements, in: scope) {
      exposed.formUnion(statement.inputs.filter { !written.contains($0) })
      written.formUnion(statement.outputs)
    }
  }

  private static func running(_ statements: [StatementTemplate], in scope: Scope) throws(Problem) -> [StatementTemplate]
  {
    var running: [StatementTemplate] = []
    for statement in statements {
      if let condition = statement.condition, try !condition.truth(in: scope) { continue }
      running.append(statement)
    }
    return running
  }

  /// The statements of one layer that run, and those that do not because a block is missing.
  private func split(
    _ entry: LayerEntry, in scope: Scope
  ) throws(Problem) -> (kept: [StatementTemplate], dropped: [StatementTemplate]) {
    let slots = Set(tower.blocks.filter { entry.missing.contains($0.name) }.map(\.slot))
    var live = exposed
    var (kept, dropped): ([StatementTemplate], [StatementTemplate]) = ([], [])
    for statement in try Self.running(program.layer, in: scope).reversed() {
      if slots.contains(where: statement.adds) || live.isDisjoint(with: statement.outputs) {
        dropped.append(statement)
      } else {
        kept.append(statement)
        live.subtract(statement.outputs)
        live.formUnion(statement.inputs)
      }
    }
    return (kept.reversed(), dropped.reversed())
  }

  /// The statements of a layer.
  ///
  /// - Parameter scope: of its formulas.
  func statements(_ entry: LayerEntry, in scope: Scope) throws(Problem) -> [StatementTemplate] {
    entry.missing.isEmpty ? program.layer : try split(entry, in: scope).kept
  }

  /// The parameters of a layer.
  func parameters(_ entry: LayerEntry, in scope: Scope) throws(Problem) -> [ParameterTemplate] {
    guard !entry.missing.isEmpty else { return tower.layer }
    let (kept, dropped) = try split(entry, in: scope)
    let needed = Set(kept.flatMap { $0.references.map(\.name) })
    let gone = Set(dropped.flatMap { $0.references.map(\.name) }).subtracting(needed)
    func isGone(_ name: String) -> Bool {
      gone.contains { name == $0 || name == $0 + ".weight" || name == $0 + ".bias" }
    }
    return tower.layer.filter { template in
      !isGone(template.name) && (template.replaces.isEmpty || !template.replaces.allSatisfy(isGone))
    }
  }
}

extension StatementTemplate {
  /// Whether it adds the slot to another one: `x = add(x, slot)`.
  func adds(_ slot: String) -> Bool {
    operation == "add" && outputs.count == 1 && inputs.contains(slot) && inputs.contains(outputs[0])
      && outputs[0] != slot
  }
}
