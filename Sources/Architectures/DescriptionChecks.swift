import EspalierBasics

// What can be said about a description before any config is known.
extension DescriptionReader {
  mutating func checkReferences(of architecture: Architecture) {
    if architecture.modelTypes.isEmpty, architecture.classes.isEmpty {
      complain("modelTypes", "a family needs a model type or a class to be recognised by")
    }
    if architecture.towers.isEmpty, architecture.includes.isEmpty { complain("towers", "a family needs a tower") }
    let names = Set(architecture.towers.flatMap { $0.before + $0.layer + $0.after }.map(\.name))
    let written = Set(architecture.towers.flatMap { $0.program?.written ?? [] })
    for tower in architecture.towers {
      for (section, parameters) in [("before", tower.before), ("layer", tower.layer), ("after", tower.after)] {
        for parameter in parameters {
          let path = "towers.\(tower.name).\(section).\(parameter.name)"
          check(parameter, in: tower, inLayer: section == "layer", of: architecture, at: path)
          for target in parameter.replaces + [parameter.tie?.target].compactMap(\.self) where !names.contains(target) {
            complain(path, "refers to `\(target)`, which is not described")
          }
        }
      }
      check(tower.program, of: tower, names: names)
      for (name, slot) in tower.blocks {
        let adding = tower.program?.layer.filter { $0.adds(slot) } ?? []
        if adding.isEmpty || tower.repetition != nil {
          complain("towers.\(tower.name).blocks.\(name)", "no statement of a layer adds `\(slot)` to another slot")
        }
      }
      // An included family may write what this one gives out.
      if architecture.includes.isEmpty { checkOutputs(of: tower, written: written) }
      for (key, form) in tower.kinds.writes { check(form, of: tower, at: "towers.\(tower.name).writes.\(key)") }
    }
  }

  private mutating func check(
    _ parameter: ParameterTemplate, in tower: TowerTemplate, inLayer: Bool, of architecture: Architecture,
    at path: String
  ) {
    let axes = Set(architecture.axes.map(\.name))
    for name in parameter.dimensions.flatMap(\.axisNames) where !axes.contains(name) {
      let isIncluded = architecture.includes.contains { name.hasPrefix($0.tower + ".") }
      if !isIncluded { complain(path + ".shape", "unknown axis `\(name)`") }
    }
    let known = ["layer", "expert"] + [tower.repetition?.variable].compactMap(\.self)
    let placeholders = parameter.placeholders
    for placeholder in placeholders where !known.contains(placeholder) {
      complain(path, "unknown placeholder `{\(placeholder)}`")
    }
    if placeholders.contains("layer") != inLayer {
      complain(path, inLayer ? "a name in `layer` needs `{layer}`" : "`{layer}` outside `layer`")
    }
    if placeholders.contains("expert"), !axes.contains("experts") {
      complain(path, "`{expert}` counts along the axis `experts`, which is not described")
    }
    if parameter.recipe.isTransposed, parameter.dimensions.count < 2 {
      complain(path + ".transposed", "needs two dimensions")
    }
  }

  private mutating func check(_ form: KindsForm, of tower: TowerTemplate, at path: String) {
    let kinds = tower.kinds.conditions.map(\.name)
    let mentioned: [String] =
      switch form {
      case .each(let values): Array(values.keys.sorted())
      case .count(let kind), .indices(let kind): [kind]
      case .constant: []
      }
    for kind in mentioned where !kinds.contains(kind) { complain(path, "unknown kind `\(kind)`") }
    if case .each = form {
      for kind in kinds where !mentioned.contains(kind) { complain(path, "no value for the kind `\(kind)`") }
    }
  }
}
