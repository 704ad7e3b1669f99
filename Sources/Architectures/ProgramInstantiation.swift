public import EspalierBasics

extension Problem.Code {
  /// The config asks for something that the program of its family does not compute.
  public static let architectureUnsupported = Problem.Code("architecture.unsupported")
}

extension Architecture {
  /// What the network of the model with this config computes.
  ///
  /// - Throws: `architecture.unsupported` if the family has no program, or the config asks for what it does not
  ///   compute; `architecture.config` as ``describe(config:)``.
  public func program(config: JSON) throws(Problem) -> ModelProgram {
    let description = try describe(config: config)
    var writer = ProgramWriter(self, config: config, description: description)
    try writer.run()
    guard !writer.sections.isEmpty else {
      throw Problem(
        .architectureUnsupported, "networks of the family \(name) cannot be run: its description has no program",
        remedy: "Merging and comparing weights need none.")
    }
    return ModelProgram(
      architecture: name, sections: writer.sections, description: description, positionsSkip: writer.positionsSkip)
  }
}

/// Fills the programs of all towers in.
private struct ProgramWriter {
  let architecture: Architecture
  let description: ModelDescription
  /// Places the names of towers and parameters; knows the scope of the family's formulas.
  let instantiation: Instantiation
  var sections: [ModelProgram.Section] = []
  var positionsSkip: Int?
  /// What single layers have otherwise, by tower.
  private var entries: [String: [LayerEntry]] = [:]

  init(_ architecture: Architecture, config: JSON, description: ModelDescription, include: Include? = nil) {
    self.architecture = architecture
    self.description = description
    instantiation = Instantiation(architecture, config: config, include: include)
  }

  mutating func run() throws(Problem) {
    let scope = instantiation.scope
    entries = try architecture.layerEntries(in: scope)
    for include in architecture.includes {
      let (family, config) = try architecture.included(include, config: scope.config)
      var inner = ProgramWriter(family, config: config, description: description, include: include)
      try inner.run()
      sections += inner.sections
    }
    for tower in architecture.towers {
      if let condition = tower.condition, try !condition.truth(in: scope) { continue }
      guard let (variable, formula) = tower.repetition else {
        try add(tower, named: tower.name, in: scope)
        continue
      }
      for value in 0..<(try formula.integer(in: scope)) {
        let name = tower.name.filling(variable, with: value)
        try add(tower, named: name, in: scope.with(variable, .integer(value)))
      }
    }
  }

  private mutating func add(_ tower: TowerTemplate, named name: String, in scope: Scope) throws(Problem) {
    guard let program = tower.program else { return }
    for (condition, what) in program.refusals where try condition.truth(in: scope) {
      throw Problem(
        .architectureUnsupported, "the config asks for \(what) (\(condition)), which this version does not compute")
    }
    if let positions = program.positions {
      let padding = try positions.padding.integer(in: scope)
      guard (0...1 << 30).contains(padding) else {
        throw Problem(
          .architectureConfig, "positions cannot be counted from `\(positions.padding)`, which is \(padding)")
      }
      positionsSkip = padding
    }
    let placed = instantiation.placedName(name)
    try append(.before, "before", program, program.before, placed, scope)
    if let layers = tower.layerCount {
      let count = try layers.integer(in: scope)
      let kinds = try tower.kinds(of: count, in: scope)
      let entries = entries[tower.name]
      let missing = try MissingBlocks(of: tower, in: architecture, scope: scope, entries: self.entries)
      for layer in 0..<count {
        let kind = kinds.isEmpty ? nil : kinds[layer]
        let inner = tower.scope(ofLayer: layer, kind: kind, entry: entries?[layer], in: scope)
        let statements = try missing?.statements(entries?[layer] ?? LayerEntry(), in: inner) ?? program.layer
        try append(.layer(layer), "layer", program, statements, placed, inner)
      }
    }
    try append(.after, "after", program, program.after, placed, scope)
    try append(.head, "head", program, program.head, placed, scope)
  }

  private mutating func append(
    _ part: ModelProgram.Section.Part, _ section: String, _ program: ProgramTemplate,
    _ templates: [StatementTemplate], _ tower: String, _ scope: Scope
  ) throws(Problem) {
    var statements: [Statement] = []
    for template in templates {
      if let condition = template.condition, try !condition.truth(in: scope) { continue }
      do throws(Problem) { statements.append(try fill(template, in: scope)) } catch {
        throw Problem(error.code, "\(error.message), in `\(template.source)`", remedy: error.remedy)
      }
    }
    var outputs: [ModelProgram.Output] = []
    let written = Set(statements.flatMap(\.outputs) + sections.flatMap { $0.statements.flatMap(\.outputs) })
    for (name, slot) in program.outputs[section] ?? [] where written.contains(slot) {
      outputs.append(.init(name: try filled(name, in: scope), slot: slot))
    }
    if statements.isEmpty, outputs.isEmpty { return }
    sections.append(.init(tower: tower, part: part, statements: statements, outputs: outputs))
  }

  private func fill(_ template: StatementTemplate, in scope: Scope) throws(Problem) -> Statement {
    var parameters: [String: [String]] = [:]
    for reference in template.references {
      let base = reference.label == "weight" ? "bias" : reference.label + ".bias"
      for (label, name) in [
        (reference.label, reference.name), (reference.label, reference.name + ".weight"),
        (base, reference.name + ".bias"),
      ] {
        let names = try described(name, in: scope)
        if !names.isEmpty { parameters[label] = names }
      }
    }
    var settings: [String: Statement.Setting] = [:]
    for (label, formula) in template.settings { settings[label] = .init(try formula.evaluate(in: scope)) }
    return Statement(
      outputs: template.outputs, operation: template.operation, inputs: template.inputs, parameters: parameters,
      settings: settings, config: scope.configWithDefaults, source: template.source)
  }

  /// The canonical names of the parameters that a name in a statement stands for, as far as this config has them.
  private func described(_ name: String, in scope: Scope) throws(Problem) -> [String] {
    guard name.placeholders.contains("expert") else {
      let filled = try filled(instantiation.spellings(of: name)[0], in: scope)
      return description.parameter(named: filled).map { [$0.name] } ?? []
    }
    var names: [String] = []
    // A spelling may have lost the placeholder: then all experts would be one.
    while names.count < description.parameters.count {
      let inner = scope.with("expert", .integer(names.count))
      let filled = try filled(instantiation.spellings(of: name)[0], in: inner)
      guard let parameter = description.parameter(named: filled), parameter.name != names.last else { break }
      names.append(parameter.name)
    }
    return names
  }

  private func filled(_ name: String, in scope: Scope) throws(Problem) -> String {
    var name = name
    for placeholder in name.placeholders {
      name = name.filling(placeholder, with: try scope.lookUp(placeholder).integer(of: placeholder))
    }
    return name
  }
}

extension Scope {
  /// The config with the family's constant defaults where it is silent at the top.
  var configWithDefaults: JSON {
    var config = config
    for key in defaults.keys where !key.contains(".") {
      if config[key].map(\.isNull) ?? true, let value = try? lookUp(key) { config[key] = value.json }
    }
    return config
  }
}
