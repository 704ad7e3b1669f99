internal import EspalierBasics
internal import EspalierMerging
internal import EspalierReduction

extension RecipeReader {
  private static let calibration = [
    "method", "parameters", "share", "size", "max_error", "allocate", "objective", "table", "text", "sequences",
    "length", "seed", "statistics", "moment_width", "one_shot", "keep", "only", "store", "baseline",
  ]

  /// What `prune:` or `factorize:` takes.
  mutating func reduction(_ node: RecipeNode, makesFactors: Bool, line: Int) -> ReductionStep? {
    let verb = makesFactors ? "factorize" : "prune"
    let budgets = makesFactors ? ["rank"] : ["sparsity", "pattern"]
    guard checkKeys(node, known: budgets + Self.calibration, of: verb) else { return nil }
    let before = problems.errors.count
    let words = budget(node, makesFactors: makesFactors, line: line)
    let text = self.words(node, "text")
    let statistics = file(node, "statistics")
    if let statistics, !text.isEmpty {
      complain(.recipeValue, "text and statistics exclude each other", line: statistics.line)
    }
    let isCalibrated = !text.isEmpty || statistics != nil
    let card = self.method(node, makesFactors: makesFactors, isCalibrated: isCalibrated, line: line)
    var step = ReductionStep(
      makesFactors: makesFactors, method: card?.name ?? "", budget: words.wish(makesFactors: makesFactors))
    if let card { step.parameters = parameters(node, of: card) }
    let blocks = ReductionMethods.blocks.first { $0.card.name == card?.name }
    if let blocks, !words.isShareAlone, problems.errors.count == before {
      complain(
        .recipeValue, "\(blocks.card.name) takes a share alone, and deals it out itself",
        line: node["method"]?.line ?? line)
    }
    if !isCalibrated, ReductionMethods.needs(of: step.method, step.parameters) > .nothing {
      complain(
        .recipeValue, "\(step.method) needs to know what reaches the matrices",
        remedy: "Give text, or statistics of `espalier calibrate`.", line: node["method"]?.line ?? line)
    }
    step.text = text
    step.sequences = natural(node, "sequences", from: 1) ?? step.sequences
    step.length = natural(node, "length", from: 1)
    step.seed = natural(node, "seed").map { UInt64($0) }
    step.statistics = statistics
    step.momentWidth = natural(node, "moment_width")
    step.isOneShot = flag(node, "one_shot") ?? false
    step.keep = self.words(node, "keep").map(\.path)
    step.only = self.words(node, "only").map(\.path)
    step.storage =
      storage(node, makesFactors: makesFactors)
      ?? (makesFactors && blocks?.hasReducedForm != false ? .reduced : .dense)
    step.measuresBaseline = flag(node, "baseline") ?? true
    step.table = file(node, "table")
    return problems.errors.count == before ? step : nil
  }

  private mutating func budget(_ node: RecipeNode, makesFactors: Bool, line: Int) -> BudgetWords {
    let before = problems.errors.count
    var words = BudgetWords()
    words.sparsity = number(node, "sparsity")
    words.pattern = word(node, "pattern")
    words.rank = value(node, "rank", expected: "a whole number") { $0.integer }
    words.share = number(node, "share")
    words.size = word(node, "size")
    words.maxError = number(node, "max_error")
    words.allocate = flag(node, "allocate") ?? false
    words.objective = choice(node, "objective", SensitivityTable.Objective.self)
    words.table = word(node, "table")
    // What could not be read was told already, and is not missing.
    guard problems.errors.count == before else { return words }
    for (word, message, remedy) in words.complaints(makesFactors: makesFactors, calling: { $0.rawValue }) {
      let place = word.flatMap { node[$0.rawValue]?.line } ?? line
      // In a recipe a sentence stands within another.
      let message = message.hasPrefix("Give one") ? "it takes one budget" + message.dropFirst(15) : message
      complain(.recipeValue, message, remedy: remedy, line: place)
    }
    return words
  }

  private mutating func method(
    _ node: RecipeNode, makesFactors: Bool, isCalibrated: Bool, line: Int
  ) -> MethodCard? {
    let names = ReductionMethods.names(makingFactors: makesFactors)
    let standard = ReductionRequest.standardMethod(makesFactors: makesFactors, isCalibrated: isCalibrated)
    guard node["method"] == nil || node["method"]?.text != nil else {
      _ = word(node, "method")
      return nil
    }
    let name = node["method"]?.text ?? standard
    let place = node["method"]?.line ?? line
    guard names.contains(name), let card = ReductionMethods.card(named: name) else {
      let near = Spelling.nearest(to: name, among: names)
      complain(
        .recipeValue, "there is no such method: \"\(name)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
        remedy: "Known methods: \(names.joined(separator: ", ")).", line: place)
      return nil
    }
    return card
  }

  private mutating func storage(_ node: RecipeNode, makesFactors: Bool) -> ReductionRequest.Storage? {
    let reduced = makesFactors ? "factors" : "sparse"
    return value(node, "store", expected: "dense or \(reduced)") {
      $0.text == "dense" ? .dense : $0.text == reduced ? .reduced : nil
    }
  }

  /// The parameters of the method, by its card.
  private mutating func parameters(_ node: RecipeNode, of card: MethodCard) -> [String: ParameterValue] {
    guard let written = node["parameters"] else { return [:] }
    guard let pairs = written.pairs else {
      complain(
        .recipeValue, "parameters must be a map of the method's parameters",
        remedy: "The share of the numbers that stays is `share`.", line: written.line)
      return [:]
    }
    var values: [String: ParameterValue] = [:]
    for (name, line, value) in pairs {
      guard let parameter = card.parameter(name) else {
        let known = card.parameters.map(\.name)
        let near = Spelling.nearest(to: name, among: known)
        complain(
          .recipeKey, "\(card.name) has no parameter \"\(name)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
          remedy: known.isEmpty
            ? "\(card.name) takes no parameters." : "Its parameters: \(known.joined(separator: ", ")).", line: line)
        continue
      }
      guard let text = value.text else {
        complain(.recipeValue, "\(name) must be \(parameter.expected)", line: line)
        continue
      }
      let found = value.flag.map { ParameterValue.flag($0) } ?? value.number.map { .number($0) } ?? .word(text)
      if let complaint = parameter.complaint(about: found) {
        complain(.parameterRange, complaint, line: line)
      } else {
        values[name] = found
      }
    }
    for missing in card.parameters where missing.isRequired && written[missing.name] == nil {
      complain(.recipeValue, "\(card.name) needs a value for \(missing.name)", line: written.line)
    }
    return values
  }
}
