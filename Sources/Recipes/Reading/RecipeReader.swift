public import EspalierBasics
internal import EspalierMerging
internal import EspalierNumerics

extension Recipe {
  /// Reads every document of a recipe file.
  ///
  /// - Parameter warnings: receives what is suspicious but allowed.
  /// - Throws: everything that is wrong with the text, each with its line.
  public static func read(
    _ text: String, file: String, warnings: inout [Problem]
  ) throws(Problems) -> [Recipe] {
    let documents: [RecipeNode]
    do throws(Problem) {
      documents = try RecipeNode.documents(in: text, file: file)
    } catch { throw Problems([error]) }
    return try read(documents, file: file, warnings: &warnings)
  }

  /// As ``read(_:file:warnings:)``, of documents parsed already.
  static func read(
    _ documents: [RecipeNode], file: String, warnings: inout [Problem]
  ) throws(Problems) -> [Recipe] {
    var reader = RecipeReader(file: file)
    var recipes: [Recipe] = []
    for document in documents where !document.isNull {
      if let recipe = reader.recipe(document) { recipes.append(recipe) }
    }
    if recipes.isEmpty, reader.problems.all.isEmpty {
      reader.complain(.recipeValue, "the recipe is empty", line: 1)
    }
    warnings += reader.problems.warnings
    guard reader.problems.errors.isEmpty else { throw reader.problems }
    return recipes
  }
}

/// Turns YAML into a ``Recipe``, collecting everything that is wrong on the way.
struct RecipeReader {
  let file: String
  var problems = Problems()

  init(file: String) { self.file = file }

  mutating func complain(
    _ code: Problem.Code, _ message: String, remedy: String? = nil, line: Int,
    severity: Problem.Severity = .error
  ) {
    problems.add(
      Problem(code, message, remedy: remedy, file: file, recipeLine: line, severity: severity))
  }

  // MARK: - Levels of the grammar

  mutating func recipe(_ node: RecipeNode) -> Recipe? {
    if let steps = node.pairs?.first(where: { $0.key == "steps" }) {
      complain(
        .recipeSteps, "the recipe has steps, not one merge", remedy: "Use `espalier run`.", line: steps.line)
      return nil
    }
    if let search = node.pairs?.first(where: { $0.key == "search" }) {
      complain(
        .recipeSearch, "the recipe has values to search, not one recipe to merge",
        remedy: "Give --search, or replace every $name by a value and leave search out.", line: search.line)
      return nil
    }
    let known = [
      "name", "merge_method", "models", "slices", "modules", "base_model", "parameters", "dtype", "out_dtype",
      "tokenizer_source", "tokenizer", "chat_template",
    ]
    guard checkKeys(node, known: known, ignored: ["input_model_parameters"], of: "the recipe") else { return nil }
    guard let methodNode = node["merge_method"], let method = methodNode.text else {
      complain(
        .recipeValue, "the recipe names no merge_method",
        remedy: "Known methods: \(MergeMethods.all.map { $0.card.name }.joined(separator: ", ")).", line: node.line)
      return nil
    }
    let names = MergeMethods.all.map { $0.card.name }
    if !names.contains(method) {
      let near = Spelling.nearest(to: method, among: names)
      complain(
        .recipeValue, "there is no merge method \"\(method)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
        remedy: "Known methods: \(names.joined(separator: ", ")).", line: methodNode.line)
    }
    guard let body = body(node, of: "the recipe", method: method, allowModules: true) else { return nil }
    return Recipe(
      name: node["name"].flatMap { text($0, key: "name") }, method: method, methodLine: methodNode.line,
      base: node["base_model"].flatMap { reference($0) }, body: body,
      parameters: settings(node["parameters"], method: method), computeType: elementType(node["dtype"], key: "dtype"),
      outputType: elementType(node["out_dtype"], key: "out_dtype"), tokenizer: tokenizer(node),
      chatTemplate: node["chat_template"].flatMap { text($0, key: "chat_template") }, line: node.line)
  }

  private mutating func body(
    _ node: RecipeNode, of what: String, method: String, allowModules: Bool
  ) -> Recipe.Body? {
    let forms = ["models", "slices", "modules"].filter { node[$0] != nil }
    guard forms.count == 1, let form = forms.first, let content = node[form] else {
      complain(
        .recipeValue,
        forms.isEmpty
          ? "\(what) has neither models nor slices nor modules"
          : "\(what) has \(forms.joined(separator: " and ")); only one of them is possible", line: node.line)
      return nil
    }
    switch form {
    case "models":
      guard let list = nonEmptyList(content, key: form) else { return nil }
      return .models(list.compactMap { source($0, method: method, layers: false) })
    case "slices":
      guard let list = nonEmptyList(content, key: form) else { return nil }
      return .slices(list.compactMap { slice($0, method: method) })
    default:
      guard allowModules, let pairs = content.pairs, !pairs.isEmpty else {
        complain(.recipeValue, "modules must be a map from module names", line: content.line)
        return nil
      }
      return .modules(
        pairs.compactMap { name, line, value in
          guard checkKeys(value, known: ["models", "slices", "parameters"], of: "the module \(name)"),
            let body = body(value, of: "the module \(name)", method: method, allowModules: false)
          else { return nil }
          return (name, line, Recipe.Module(body: body, parameters: settings(value["parameters"], method: method)))
        })
    }
  }

  private mutating func slice(_ node: RecipeNode, method: String) -> Recipe.Slice? {
    guard
      checkKeys(
        node, known: ["sources", "base_model", "parameters"], ignored: ["residual_weight"], of: "a slice"),
      let written = node["sources"] ?? missing("sources", node), let list = nonEmptyList(written, key: "sources")
    else { return nil }
    let sources = list.compactMap { source($0, method: method, layers: true) }
    if let first = sources.first?.layers,
      let other = sources.first(where: { ($0.layers?.count ?? first.count) != first.count })
    {
      complain(
        .recipeValue,
        "the sources of a slice take \(first.count) and \(other.layers?.count ?? 0) layers; they must take as many",
        line: other.line)
    }
    return Recipe.Slice(
      sources: sources, base: node["base_model"].flatMap { reference($0) },
      parameters: settings(node["parameters"], method: method), line: node.line)
  }

  private mutating func source(_ node: RecipeNode, method: String, layers: Bool) -> Recipe.Source? {
    guard
      checkKeys(
        node, known: layers ? ["model", "layer_range", "parameters"] : ["model", "parameters"],
        ignored: layers ? [] : ["layer_range"], of: "a source")
    else { return nil }
    guard let named = node["model"] ?? missing("model", node), let model = reference(named) else { return nil }
    var range: Range<Int>?
    if layers {
      guard let written = node["layer_range"] ?? missing("layer_range", node) else { return nil }
      range = layerRange(written)
    }
    return Recipe.Source(
      model: model, parameters: settings(node["parameters"], method: method), layers: range, line: node.line)
  }

  private mutating func layerRange(_ node: RecipeNode) -> Range<Int>? {
    let numbers = node.list?.compactMap(\.integer) ?? []
    guard numbers.count == 2, node.list?.count == 2, numbers[0] >= 0 else {
      complain(.recipeValue, "layer_range is not a pair of layer numbers [first, end)", line: node.line)
      return nil
    }
    guard numbers[0] < numbers[1] else {
      complain(
        .recipeValue, "layer_range [\(numbers[0]), \(numbers[1])] is empty",
        remedy: "The end is not included: [0, 4] takes layers 0 to 3.", line: node.line)
      return nil
    }
    return numbers[0]..<numbers[1]
  }

  mutating func missing<T>(_ key: String, _ node: RecipeNode) -> T? {
    complain(.recipeValue, "\(key) is missing", line: node.line)
    return nil
  }

  mutating func nonEmptyList(_ node: RecipeNode, key: String) -> [RecipeNode]? {
    guard let list = node.list, !list.isEmpty else {
      complain(.recipeValue, "\(key) must be a list with at least one entry", line: node.line)
      return nil
    }
    return list
  }

  /// Reports unknown keys; false if the node is no map at all.
  mutating func checkKeys(
    _ node: RecipeNode, known: [String], ignored: [String] = [], of what: String
  ) -> Bool {
    guard let pairs = node.pairs else {
      complain(.recipeValue, "\(what) must be a map of keys and values", line: node.line)
      return false
    }
    for (key, line, _) in pairs where !known.contains(key) {
      if ignored.contains(key) {
        complain(
          .recipeIgnored, "\(key) has no effect, here as in mergekit", line: line, severity: .warning)
      } else {
        let near = Spelling.nearest(to: key, among: known)
        complain(
          .recipeKey, "\(what) has no key \"\(key)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
          remedy: "Known keys: \(known.joined(separator: ", ")).", line: line)
      }
    }
    return true
  }

  // MARK: - Values

  mutating func text(_ node: RecipeNode, key: String) -> String? {
    guard let text = node.text else {
      complain(.recipeValue, "\(key) must be text", line: node.line)
      return nil
    }
    return text
  }

  mutating func reference(_ node: RecipeNode) -> ModelReference? {
    if let text = node.text, !text.isEmpty { return ModelReference(parsing: text, line: node.line) }
    guard node.pairs != nil,
      checkKeys(node, known: ["model", "lora"], ignored: ["override_architecture"], of: "a model reference"),
      let (path, revision) = node["model"].flatMap({ pathAndRevision($0) })
    else {
      complain(.recipeValue, "a model must be a path or a hub name", line: node.line)
      return nil
    }
    let adapter = node["lora"].flatMap { pathAndRevision($0) }
    return ModelReference(
      path: path, revision: revision, adapter: adapter?.path, adapterRevision: adapter?.revision, line: node.line)
  }

  private mutating func pathAndRevision(_ node: RecipeNode) -> (path: String, revision: String?)? {
    if let text = node.text {
      let reference = ModelReference(parsing: text, line: node.line)
      return (reference.path, reference.revision)
    }
    guard checkKeys(node, known: ["path", "revision"], of: "a model reference"),
      let written = node["path"] ?? missing("path", node), let path = text(written, key: "path")
    else { return nil }
    return (path, node["revision"].flatMap { text($0, key: "revision") })
  }

  private mutating func elementType(_ node: RecipeNode?, key: String) -> ElementType? {
    guard let node else { return nil }
    let names: [String: ElementType] = [
      "float16": .f16, "bfloat16": .bf16, "float32": .f32, "float64": .f64, "float8_e4m3fn": .f8e4m3,
      "float8_e5m2": .f8e5m2, "f16": .f16, "bf16": .bf16, "f32": .f32, "f64": .f64,
    ]
    let text = node.text ?? ""
    if let type = names[text.hasPrefix("torch.") ? String(text.dropFirst(6)) : text] { return type }
    let near = Spelling.nearest(to: text, among: names.keys.sorted())
    complain(
      .recipeValue, "\(key) \"\(text)\" is not a type to merge in" + (near.map { "; did you mean \($0)?" } ?? ""),
      remedy: "Use float16, bfloat16, float32, float64, float8_e4m3fn or float8_e5m2.", line: node.line)
    return nil
  }

  // MARK: - Parameters

  mutating func settings(_ node: RecipeNode?, method: String) -> ParameterSettings {
    guard let node else { return .none }
    guard let pairs = node.pairs else {
      complain(.recipeValue, "parameters must be a map of names and values", line: node.line)
      return .none
    }
    var settings = ParameterSettings()
    for (name, line, value) in pairs {
      guard let card = MergeMethods.named(method)?.card else { continue }
      guard let parameter = card.parameter(name) else {
        unknownParameter(name, of: card, line: line)
        continue
      }
      guard let setting = setting(value, parameter) else { continue }
      for complaint in Set(setting.allValues.compactMap { parameter.complaint(about: $0) }).sorted() {
        complain(.parameterRange, complaint, line: line)
      }
      settings.entries[name] = ParameterSettings.Entry(setting: setting, line: line)
    }
    return settings
  }

  private mutating func unknownParameter(_ name: String, of card: MethodCard, line: Int) {
    let others = MergeMethods.all.filter { $0.card.parameter(name) != nil }.map { $0.card.name }
    if !others.isEmpty {
      complain(
        .recipeIgnored, "\(card.name) has no parameter \(name); it has no effect, here as in mergekit",
        remedy: "It belongs to \(others.joined(separator: ", ")).", line: line, severity: .warning)
      return
    }
    let known = card.parameters.map(\.name)
    let near = Spelling.nearest(to: name, among: MergeMethods.all.flatMap { $0.card.parameters.map(\.name) })
    complain(
      .recipeKey, "\(card.name) has no parameter \"\(name)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
      remedy: known.isEmpty
        ? "\(card.name) takes no parameters." : "Its parameters: \(known.joined(separator: ", ")).", line: line)
  }

  private mutating func setting(_ node: RecipeNode, _ card: ParameterCard) -> ParameterSetting? {
    if let list = node.list, list.contains(where: { $0.pairs != nil }) {
      let cases = list.compactMap { filtered($0, card) }
      return cases.count == list.count ? ParameterSetting(cases: cases) : nil
    }
    if node.pairs != nil { return filtered(node, card).map { ParameterSetting(cases: [$0]) } }
    return points(node, card).map { ParameterSetting(cases: [.init(filter: nil, points: $0)]) }
  }

  private mutating func filtered(_ node: RecipeNode, _ card: ParameterCard) -> ParameterSetting.Case? {
    if node.pairs == nil { return points(node, card).map { .init(filter: nil, points: $0) } }
    guard checkKeys(node, known: ["filter", "value"], of: "a filtered value"),
      let value = node["value"] ?? missing("value", node), let points = points(value, card)
    else { return nil }
    let filter = node["filter"].flatMap { text($0, key: "filter") }
    return .init(filter: filter == "*" ? nil : filter, points: points)
  }

  private mutating func points(_ node: RecipeNode, _ card: ParameterCard) -> [ParameterValue]? {
    let nodes = node.list ?? [node]
    let values = nodes.compactMap { scalar($0, card) }
    guard !nodes.isEmpty, values.count == nodes.count else {
      complain(.recipeValue, "\(card.name) must be \(card.expected), or a list of such values", line: node.line)
      return nil
    }
    return values
  }

  private func scalar(_ node: RecipeNode, _ card: ParameterCard) -> ParameterValue? {
    switch card.kind {
    case .number, .integer:
      // As in mergekit, a flag counts as 0 or 1.
      return node.number.map { .number($0) } ?? node.flag.map { .number($0 ? 1 : 0) }
    case .flag: return node.flag.map { .flag($0) } ?? node.number.map { .flag($0 != 0) }
    case .choice: return node.text.map { .word($0) }
    case .flagOrChoice: return node.flag.map { .flag($0) } ?? node.text.map { .word($0) }
    }
  }

  // MARK: - Tokenizer

  private mutating func tokenizer(_ node: RecipeNode) -> Recipe.TokenizerSetting? {
    let (old, new) = (node["tokenizer_source"], node["tokenizer"])
    if let old, new != nil {
      complain(.recipeValue, "tokenizer_source and tokenizer exclude each other", line: old.line)
      return nil
    }
    if let old {
      return origin(old).map { .init(origin: $0, tokens: [], padToMultipleOf: nil, line: old.line) }
    }
    guard let new,
      checkKeys(new, known: ["source", "tokens", "pad_to_multiple_of"], of: "the tokenizer")
    else { return nil }
    let origin = new["source"].map { self.origin($0) } ?? .union
    guard let origin else { return nil }
    var pad: Int?
    if let node = new["pad_to_multiple_of"] {
      pad = node.integer
      if pad.map({ $0 < 1 || $0 > 1 << 20 }) ?? true {
        complain(.recipeValue, "pad_to_multiple_of must be a whole number from 1", line: node.line)
      }
    }
    var tokens: [Recipe.TokenizerSetting.Token] = []
    if let node = new["tokens"] {
      if node.pairs == nil { complain(.recipeValue, "tokens must be a map from tokens", line: node.line) }
      tokens = node.pairs?.compactMap { token($0.key, $0.value, line: $0.line) } ?? []
    }
    return .init(origin: origin, tokens: tokens, padToMultipleOf: pad, line: new.line)
  }

  private mutating func origin(_ node: RecipeNode) -> Recipe.TokenizerSetting.Origin? {
    switch node.text {
    case "union": return .union
    case "base": return .base
    default: return reference(node).map { .model($0) }
    }
  }

  private mutating func token(
    _ token: String, _ node: RecipeNode, line: Int
  ) -> Recipe.TokenizerSetting.Token? {
    guard checkKeys(node, known: ["source", "force"], of: "the token \(token)") else { return nil }
    var embedding: Recipe.TokenizerSetting.Token.Embedding?
    if let source = node["source"] {
      if let written = source["kind"] {
        guard let kind = text(written, key: "kind") else { return nil }
        guard checkKeys(source, known: ["kind", "model", "token_id", "token"], of: "a token's source") else {
          return nil
        }
        switch kind {
        case "zero": embedding = .zero
        case "model_token":
          guard let named = source["model"] ?? missing("model", source), let model = reference(named)
          else { return nil }
          let written = (id: source["token_id"], text: source["token"])
          guard (written.id == nil) != (written.text == nil) else {
            complain(.recipeValue, "model_token needs either token_id or token", line: source.line)
            return nil
          }
          if let node = written.id, node.integer == nil {
            complain(.recipeValue, "token_id must be a whole number", line: node.line)
            return nil
          }
          let token = written.text.flatMap { text($0, key: "token") }
          embedding = .modelToken(model, id: written.id?.integer, token: token)
        default:
          complain(.recipeValue, "a token's source cannot be of kind \"\(kind)\"", line: source.line)
          return nil
        }
      } else {
        embedding = reference(source).map { .model($0) }
      }
    }
    if let force = node["force"], force.flag == nil {
      complain(.recipeValue, "force must be true or false", line: force.line)
    }
    return .init(token: token, embedding: embedding, force: node["force"]?.flag ?? false, line: line)
  }
}
