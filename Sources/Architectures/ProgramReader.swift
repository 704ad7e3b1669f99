import EspalierBasics

// Reads the program of a tower, and says what is wrong with it before any config is known.
extension DescriptionReader {
  mutating func program(_ json: JSON, _ path: String) -> ProgramTemplate? {
    let keys = ["module", "outputs", "refuses", "positionsSkip"] + ProgramTemplate.sections
    guard let members = object(json, at: path, keys: keys) else { return nil }
    let module = members["module"].flatMap { text($0, at: path + ".module") } ?? ""
    var program = ProgramTemplate()
    program.before = statements(members["before"], module, at: path + ".before")
    program.layer = statements(members["layer"], module, at: path + ".layer")
    program.after = statements(members["after"], module, at: path + ".after")
    program.head = statements(members["head"], module, at: path + ".head")
    for (section, outputs) in named(
      members["outputs"], at: path + ".outputs",
      { reader, section, json, path in
        let outputs = reader.named(json, at: path) { reader, name, json, path in
          reader.text(json, at: path).map { (name: name, slot: $0) }
        }
        return (section, outputs)
      })
    {
      if !ProgramTemplate.sections.contains(section) { complain(path + ".outputs", "unknown section `\(section)`") }
      program.outputs[section] = outputs
    }
    program.refusals = named(members["refuses"], at: path + ".refuses") { reader, source, json, path in
      guard let what = reader.text(json, at: path) else { return nil }
      return reader.formula(.string(source), at: path).map { (condition: $0, what: what) }
    }
    program.positions = members["positionsSkip"].flatMap { formula($0, at: path + ".positionsSkip") }
      .map { PositionsTemplate(padding: $0) }
    return program
  }

  private mutating func statements(_ json: JSON?, _ module: String, at path: String) -> [StatementTemplate] {
    guard let json else { return [] }
    return texts(json, at: path).enumerated().compactMap { index, source in
      parsed(at: "\(path)[\(index)]") { () throws(Problem) in try StatementTemplate(parsing: source, module: module) }
    }
  }

  /// What is seen from outside must be written by some statement; what a batch brings is none of it.
  mutating func checkOutputs(of tower: TowerTemplate, written: Set<String>) {
    for (section, outputs) in (tower.program?.outputs ?? [:]).sorted(by: { $0.key < $1.key }) {
      for output in outputs where !written.contains(output.slot) {
        complain(
          "towers.\(tower.name).program.outputs.\(section).\(output.name)", "no statement writes `\(output.slot)`")
      }
    }
  }

  /// Every reference must be a parameter of the family, or a module with a weight.
  mutating func check(_ program: ProgramTemplate?, of tower: TowerTemplate, names: Set<String>) {
    guard let program else { return }
    for section in ProgramTemplate.sections {
      for statement in program.statements(of: section) {
        for reference in statement.references
        where !names.contains(reference.name) && !names.contains(reference.name + ".weight") {
          complain(
            "towers.\(tower.name).program.\(section)",
            "`\(statement.source)` refers to `\(reference.name)`, which is not described")
        }
      }
    }
  }
}
