extension ModelProgram {
  /// The program of a checkpoint that lacks optional parameters: without the statements that need them, and without
  /// what hangs on those. Where that would take a parameter that must be there along, as the pooler would take the
  /// classifier behind it, nothing is left out.
  ///
  /// - Parameter isAbsent: whether the checkpoint lacks the parameter with this canonical name.
  public func leavingOut(where isAbsent: (String) -> Bool) -> ModelProgram {
    var lost: Set<String> = []
    var sections: [Section] = []
    for section in self.sections {
      var statements: [Statement] = []
      for statement in section.statements {
        let parameters = statement.parameters.values.flatMap(\.self)
        let isOptional = { name in description.parameter(named: name)?.isOptional ?? false }
        if parameters.contains(where: { isOptional($0) && isAbsent($0) }) || !lost.isDisjoint(with: statement.inputs) {
          guard parameters.allSatisfy(isOptional) else { return self }
          lost.formUnion(statement.outputs)
        } else {
          lost.subtract(statement.outputs)
          statements.append(statement)
        }
      }
      sections.append(
        Section(
          tower: section.tower, part: section.part, statements: statements,
          outputs: section.outputs.filter { !lost.contains($0.slot) }))
    }
    return ModelProgram(
      architecture: architecture, sections: sections, description: description, positionsSkip: positionsSkip)
  }
}
