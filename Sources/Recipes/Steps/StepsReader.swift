internal import EspalierBasics
internal import EspalierReduction

extension StepsRecipe {
  /// Reads a recipe of steps.
  ///
  /// - Parameter warnings: receives what is suspicious but allowed.
  /// - Throws: everything that is wrong with the text, each with its line.
  static func read(_ text: String, file: String, warnings: inout [Problem]) throws(Problems) -> StepsRecipe {
    let documents: [RecipeNode]
    do throws(Problem) { documents = try RecipeNode.documents(in: text, file: file).filter { !$0.isNull } } catch {
      throw Problems([error])
    }
    var reader = RecipeReader(file: file)
    let recipe = reader.steps(documents)
    warnings += reader.problems.warnings
    guard reader.problems.errors.isEmpty, let recipe else { throw reader.problems }
    return recipe
  }
}

extension RecipeReader {
  fileprivate static let verbs = ["merge", "align", "restructure", "prune", "factorize", "quantize", "evaluate"]

  fileprivate mutating func steps(_ documents: [RecipeNode]) -> StepsRecipe? {
    guard let node = documents.first else {
      complain(.recipeValue, "the recipe is empty", line: 1)
      return nil
    }
    if documents.count > 1 {
      complain(.recipeSteps, "a recipe of steps is one document", line: documents[1].line)
    }
    guard let list = node["steps"] else {
      complain(
        .recipeSteps, "the recipe has no steps",
        remedy: node["merge_method"] == nil ? nil : "One merge is for `espalier merge`.", line: node.line)
      return nil
    }
    guard checkKeys(node, known: ["model", "seed", "steps"], of: "the recipe"),
      let nodes = nonEmptyList(list, key: "steps")
    else { return nil }
    let model = node["model"].flatMap { reference($0) }
    let seed = natural(node, "seed").map { UInt64($0) } ?? 0
    let before = problems.errors.count
    let steps = nodes.compactMap { step($0) }
    guard problems.errors.count == before else { return nil }
    checkOrder(steps, hasModel: node["model"] != nil, line: node.line)
    return StepsRecipe(model: model, seed: seed, steps: steps)
  }

  private mutating func step(_ node: RecipeNode) -> StepsRecipe.Step? {
    guard let pairs = node.pairs, pairs.count == 1 else {
      complain(
        .recipeValue, "a step is one of \(Self.verbs.joined(separator: ", ")) with what it takes below it",
        line: node.line)
      return nil
    }
    let (verb, line, body) = pairs[0]
    guard Self.verbs.contains(verb) else {
      let near = Spelling.nearest(to: verb, among: Self.verbs)
      complain(
        .recipeKey, "there is no step \"\(verb)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
        remedy: "Steps: \(Self.verbs.joined(separator: ", ")).", line: line)
      return nil
    }
    var action: StepsRecipe.Action?
    switch verb {
    case "merge":
      if let name = body["name"] {
        complain(.recipeIgnored, "the name of a step has no effect", line: name.line, severity: .warning)
      }
      action = recipe(body).map { .merge($0, text: RecipeText.yaml([body])) }
    case "restructure": action = restructuring(body, line: line).map { .restructure($0) }
    case "quantize" where body["method"] != nil && body["type"] == nil && body["size"] == nil:
      action = calibratedQuantization(body, line: line).map { .reduce($0) }
    case "quantize": action = quantization(body, line: line).map { .quantize($0) }
    case "align": action = alignment(body, line: line).map { .align($0) }
    case "evaluate": action = evaluation(body, line: line).map { .evaluate($0) }
    default: action = reduction(body, makesFactors: verb == "factorize", line: line).map { .reduce($0) }
    }
    return action.map { StepsRecipe.Step(action: $0, text: RecipeText.yaml([node]), line: line) }
  }

  /// What steps need of those before them.
  private mutating func checkOrder(_ steps: [StepsRecipe.Step], hasModel: Bool, line: Int) {
    if !hasModel, let first = steps.first, first.verb != "merge" {
      complain(
        .recipeSteps, "the recipe names no model for its first step",
        remedy: "Give `model:` above the steps, or begin with a merge.", line: line)
    }
    if !steps.contains(where: \.makesModel) {
      complain(
        .recipeSteps, "no step makes a model", remedy: "To measure one, use `espalier evaluate`.", line: line)
    }
    if let place = steps.firstIndex(where: \.isQuantization),
      let other = steps[(place + 1)...].first(where: \.makesModel)
    {
      complain(
        .recipeSteps, "only evaluate may follow quantize", remedy: "Quantize the finished model, last.",
        line: other.line)
    }
    // Models made so far, what the recipe begins with among them.
    var count = hasModel ? 1 : 0
    for step in steps {
      switch step.action {
      case .merge(let recipe, _):
        if count > 0, !recipe.models.contains(where: { $0.key == StepModel.current }) {
          complain(
            .recipeSteps, "the merge leaves out the model that there is already",
            remedy: "Name it `\(StepModel.current)` among the merge's models"
              + (count == 1 && hasModel ? ", or leave out `model:`." : "."), line: step.line)
        }
      case .restructure, .reduce, .quantize: break
      case .align(let alignment):
        if count == 1, alignment.reference == .original {
          complain(
            .recipeSteps, "the model is the one that the recipe begins with: it lies in its own order",
            remedy: "Align it to another model.", line: step.line)
        }
      case .evaluate(let evaluation):
        if count == 1, evaluation.reference == .original || evaluation.reference == .previous {
          complain(
            .recipeSteps, "there is no earlier model to compare with: no step before this one changed it",
            line: step.line)
        }
      }
      count += step.makesModel ? 1 : 0
    }
  }
}

// MARK: - Values

extension RecipeReader {
  /// The value of a key, if it is given and can be read.
  mutating func value<T>(
    _ node: RecipeNode, _ key: String, expected: String, _ read: (RecipeNode) -> T?
  ) -> T? {
    guard let written = node[key] else { return nil }
    if let value = read(written) { return value }
    complain(.recipeValue, "\(key) must be \(expected)", line: written.line)
    return nil
  }

  mutating func number(_ node: RecipeNode, _ key: String) -> Double? {
    value(node, key, expected: "a number") { $0.number }
  }

  mutating func flag(_ node: RecipeNode, _ key: String) -> Bool? {
    value(node, key, expected: "true or false") { $0.flag }
  }

  mutating func word(_ node: RecipeNode, _ key: String) -> String? {
    value(node, key, expected: "text") { $0.text }
  }

  mutating func natural(_ node: RecipeNode, _ key: String, from least: Int = 0) -> Int? {
    value(node, key, expected: "a whole number from \(least)") { $0.integer.flatMap { $0 >= least ? $0 : nil } }
  }

  mutating func choice<T: RawRepresentable & CaseIterable>(
    _ node: RecipeNode, _ key: String, _ type: T.Type
  ) -> T? where T.RawValue == String {
    let names = T.allCases.map(\.rawValue)
    return value(node, key, expected: names.joined(separator: " or ")) { $0.text.flatMap { T(rawValue: $0) } }
  }

  /// One text, or a list of texts.
  mutating func words(_ node: RecipeNode, _ key: String) -> [StepFile] {
    value(node, key, expected: "text, or a list of texts") { written in
      let nodes = written.list ?? [written]
      let found = nodes.compactMap { node in node.text.map { StepFile(path: $0, line: node.line) } }
      return found.count == nodes.count ? found : nil
    } ?? []
  }

  mutating func file(_ node: RecipeNode, _ key: String) -> StepFile? {
    word(node, key).map { StepFile(path: $0, line: node[key]?.line ?? node.line) }
  }
}
