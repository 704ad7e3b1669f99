internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

/// The parameters of a checkpoint by the names of their descriptions, one an expert.
struct GGUFExportSources {
  struct Source {
    /// The checkpoint's own name.
    var name: String
    var recipe: StorageRecipe
    var elementType: ElementType
  }

  private(set) var byName: [ExactString: Source] = [:]
  private let description: ModelDescription
  private let omittedBeginnings: [String]
  private var buffers: [String] = []
  private var omitted: [String] = []
  private var tied: [String] = []
  private var repeated: [String] = []

  init(_ description: ModelDescription, omitted: [String]) {
    self.description = description
    omittedBeginnings = omitted
  }

  /// Takes up the parameters of a checkpoint; notes what is unknown, missing or of a wrong shape.
  mutating func collect(_ parameters: [Parameter], problems: inout Problems) {
    var unknown: [String] = []
    for parameter in parameters {
      guard let described = description.parameter(named: parameter.name) else {
        if parameter.name.hasSuffix("rotary_emb.inv_freq") {
          buffers.append(parameter.name)
        } else if isOmitted(parameter.name) {
          omitted.append(parameter.name)
        } else {
          unknown.append(parameter.name)
        }
        continue
      }
      let name = described.name
      if described.role.part == .buffer {
        buffers.append(parameter.name)
      } else if isOmitted(name) {
        omitted.append(parameter.name)
      } else if described.tiedTo != nil {
        tied.append(parameter.name)
      } else if parameter.shape != described.shape {
        problems.add(
          Problem(
            .ggufTensor, "the shape is \(parameter.shape); by the config it is \(described.shape)",
            tensor: parameter.name))
      } else {
        take(parameter, as: described, problems: &problems)
      }
    }
    if !unknown.isEmpty {
      problems.add(
        Problem(
          .ggufTensor, "parameters that the family \(description.architecture) does not know: \(Self.list(unknown))"))
    }
    let missing = description.fit(names: parameters.map(\.name)).missing.map(\.name).filter { !isOmitted($0) }
    if !missing.isEmpty {
      problems.add(Problem(.ggufTensor, "parameters are missing: \(Self.list(missing))"))
    }
  }

  private func isOmitted(_ name: String) -> Bool { omittedBeginnings.contains { name.hasPrefix($0) } }

  private mutating func take(_ parameter: Parameter, as described: ParameterDescription, problems: inout Problems) {
    guard !described.replaces.isEmpty else { return store(parameter.recipe, of: parameter, as: described.name) }
    let parts = described.replaces.compactMap { description.parameter(named: $0) }
    let experts = Set(parts.compactMap(\.expert)).count
    guard experts > 0 else {
      for part in parts { store(parameter.recipe, of: parameter, as: part.name) }
      return
    }
    // All experts stacked, in each one part below the other: the parts are listed one after another.
    let below = parts.count / experts
    let rows = parts.first?.shape.first ?? 0
    let columns = parts.first?.shape.dropFirst().reduce(1, *) ?? 0
    guard parts.count == below * experts, parts.allSatisfy({ $0.shape == parts[0].shape }),
      [parts.count, rows, columns].checkedProduct == parameter.elementCount
    else {
      problems.add(
        Problem(.ggufTensor, "\(experts) experts cannot be told apart in it", tensor: parameter.name))
      return
    }
    for (index, part) in parts.enumerated() {
      let first = (index % experts * below + index / experts) * rows
      let recipe = parameter.recipe.rows(first..<first + rows, of: [parts.count * rows, columns])
      store(recipe, of: parameter, as: part.name)
    }
  }

  private mutating func store(_ recipe: StorageRecipe, of parameter: Parameter, as name: String) {
    let source = Source(name: parameter.name, recipe: recipe, elementType: parameter.elementType)
    guard byName[ExactString(name)] == nil else { return repeated.append(parameter.name) }
    byName[ExactString(name)] = source
  }

  /// What is left out.
  func warnings(family: String) -> [Problem] {
    let left: [(names: [String], why: String)] = [
      (buffers, "follow from the config"),
      (omitted, "are nothing that llama.cpp computes with in the family \(family)"),
      (tied, "are tied to the embedding by the config"), (repeated, "are stored a second time"),
    ]
    return left.filter { !$0.names.isEmpty }.map { names, why in
      Problem(.ggufTensor, "left out, since they \(why): \(Self.list(names))", severity: .warning)
    }
  }

  static func list(_ names: [String]) -> String {
    let shown = names.prefix(4).joined(separator: ", ")
    return names.count > 4 ? "\(shown) and \(names.count - 4) more" : shown
  }
}

/// Gives parameters the names, shapes and values that a GGUF file has, by the mapping by which it is read.
struct GGUFExportNaming {
  private let mapping: GGUFMapping
  private let description: ModelDescription
  private let sources: [ExactString: GGUFExportSources.Source]
  /// Of the metadata.
  private let scope: Scope
  private(set) var tensors: [GGUFExport.Tensor] = []
  private(set) var transformed: [GGUFExport.Transform.Kind: [String]] = [:]
  private var used: Set<ExactString> = []

  init(
    _ mapping: GGUFMapping, description: ModelDescription, sources: [ExactString: GGUFExportSources.Source],
    metadata: JSON
  ) {
    self.mapping = mapping
    self.description = description
    self.sources = sources
    scope = Scope(config: metadata)
  }

  mutating func run(problems: inout Problems) {
    let layers = description.towers.map(\.layerCount).max() ?? 0
    let experts = (description.parameters.compactMap(\.expert).max() ?? -1) + 1
    for (template, variants) in mapping.tensors {
      let layers = template.placeholders.contains("layer") ? 0..<layers : 0..<1
      let isApart = template.placeholders.contains("expert")
      // Where a name can be written in two ways, the first counts: attn_q, not attn_qkv.
      for part in variants.compactMap({ $0.parts.count == 1 ? $0.parts[0] : nil }) {
        for layer in layers {
          for expert in isApart ? 0..<experts : 0..<1 {
            let name = template.filling("layer", with: layer).filling("expert", with: expert)
            let isStacked = !isApart && part.name.placeholders.contains("expert")
            for ending in ["", ".weight", ".bias"] {
              let meant = part.name.filling("layer", with: layer) + ending
              do throws(Problem) {
                try add(
                  name + ending, from: meant, experts: isStacked ? 0..<experts : expert..<expert + 1,
                  isStacked: isStacked, rows: part.rows, layer: layer)
              } catch { problems.add(error.at(tensor: name + ending)) }
            }
          }
        }
      }
    }
    let nameless = sources.keys.filter { !used.contains($0) }.map(\.text).sorted {
      $0.utf8.lexicographicallyPrecedes($1.utf8)
    }
    if !nameless.isEmpty {
      problems.add(
        Problem(
          .ggufTensor,
          "parameters that GGUF files of the family \(description.architecture) have no name for: "
            + GGUFExportSources.list(nameless)))
    }
  }

  /// Adds a tensor, if the model has what it is made of.
  ///
  /// - Parameter template: the parameter's name, with `{expert}` where every expert has one.
  private mutating func add(
    _ name: String, from template: String, experts: Range<Int>, isStacked: Bool, rows: GGUFTensorTarget.RowGroups?,
    layer: Int
  ) throws(Problem) {
    var parts: [(described: ParameterDescription, source: GGUFExportSources.Source)] = []
    for expert in experts {
      let name = template.filling("expert", with: expert)
      guard let described = description.parameter(named: name) else {
        // Most names that could be are no parameters.
        if parts.isEmpty { return }
        continue
      }
      let key = ExactString(described.name)
      guard let source = sources[key], used.insert(key).inserted else { continue }
      parts.append((described, source))
    }
    guard let first = parts.first else { return }
    guard parts.count == experts.count else {
      throw Problem(.ggufTensor, "\(parts.count) of \(experts.count) experts have the parameter")
    }
    var recipes: [StorageRecipe] = []
    var shape = first.described.shape
    for (described, source) in parts {
      let made = try stored(described, source, rows: rows, layer: layer)
      recipes.append(made.recipe)
      shape = made.shape
    }
    var recipe = recipes[0]
    if isStacked {
      shape = [parts.count] + shape
      recipe = StorageRecipe.stack(recipes, shape: shape, name: name)
      if case .gathered = recipe { transformed[.stacked, default: []].append(name) }
    } else {
      note(recipe, of: name)
    }
    let types = Set(parts.map(\.source.elementType))
    let type = types.count == 1 && first.described.recipe.value == .identity ? first.source.elementType : .f32
    var seen = Set<ExactString>()
    let origins = parts.map(\.source.name).filter { seen.insert(ExactString($0)).inserted }
    tensors.append(
      GGUFExport.Tensor(
        name: name, shape: shape,
        content: .parameter(Parameter(name: name, shape: shape, elementType: type, recipe: recipe)),
        role: GGUFTensorRole(name: name), sources: origins))
  }

  /// One parameter in the layout and with the values that a network computes with.
  private func stored(
    _ described: ParameterDescription, _ source: GGUFExportSources.Source, rows: GGUFTensorTarget.RowGroups?,
    layer: Int
  ) throws(Problem) -> (recipe: StorageRecipe, shape: [Int]) {
    var recipe = source.recipe
    var shape = described.shape
    switch described.recipe.value {
    case .identity: break
    case .plusOne: recipe = recipe.mapping(by: .plusOne)
    case .negativeExponential: recipe = recipe.mapping(by: .negativeExponential)
    }
    if described.recipe.isTransposed, shape.count == 2 {
      shape.reverse()
      recipe = recipe.transposing(to: shape)
    }
    if let rows {
      let scope = mapping.layers?.scope(ofLayer: layer, in: scope) ?? scope.with("layer", .integer(layer))
      recipe = try recipe.reordering(by: try rows.order(rowCount: shape.first ?? 1, in: scope).inverse)
    }
    return (recipe, shape)
  }

  /// Notes what is left of a tensor's transformations: of what came from a GGUF file nothing is.
  private mutating func note(_ recipe: StorageRecipe, of name: String) {
    switch recipe {
    case .reordered(let base, _):
      transformed[.rowsReordered, default: []].append(name)
      note(base, of: name)
    case .transposed(let base, _):
      transformed[.transposed, default: []].append(name)
      note(base, of: name)
    case .mapped(_, .plusOne): transformed[.onePlus, default: []].append(name)
    case .mapped(_, .negativeExponential): transformed[.negativeExponential, default: []].append(name)
    default: break
    }
  }
}
