internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierMerging
internal import EspalierReduction

extension RecipeReader {
  private static let budgets = ["share", "size", "max_error", "allocate", "objective", "table"]
  /// What all methods take that may look at what reaches the matrices.
  static let calibration = [
    "method", "parameters", "text", "sequences", "length", "seed", "statistics", "moment_width", "one_shot", "keep",
    "only", "store", "baseline",
  ]

  /// What `prune:` or `factorize:` takes.
  mutating func reduction(_ node: RecipeNode, makesFactors: Bool, line: Int) -> ReductionStep? {
    let verb = makesFactors ? ReductionStep.Verb.factorize : .prune
    let known = (makesFactors ? ["rank"] : ["sparsity", "pattern"]) + Self.budgets + Self.calibration
    guard checkKeys(node, known: known, of: verb.rawValue) else { return nil }
    let before = problems.errors.count
    let words = budget(node, makesFactors: makesFactors, line: line)
    let isCalibrated = isCalibrated(node)
    let card = method(
      node, among: Self.cards(ReductionMethods.names(makingFactors: makesFactors)),
      standard: ReductionRequest.standardMethod(makesFactors: makesFactors, isCalibrated: isCalibrated), line: line)
    var step = ReductionStep(verb: verb, method: card?.name ?? "", budget: words.wish(makesFactors: makesFactors))
    if let card { step.parameters = parameters(node, of: card) }
    let blocks = ReductionMethods.blocks.first { $0.card.name == card?.name }
    if let blocks, !words.isShareAlone, problems.errors.count == before {
      complain(
        .recipeValue, "\(blocks.card.name) takes a share alone, and deals it out itself",
        line: node["method"]?.line ?? line)
    }
    readCalibration(node, &step, line: line)
    step.storage =
      storage(node, reduced: makesFactors ? "factors" : "sparse", .reduced)
      ?? (makesFactors ? .reduced : .dense)
    step.table = file(node, "table")
    return problems.errors.count == before ? step : nil
  }

  /// What `quantize:` takes with a method.
  mutating func calibratedQuantization(_ node: RecipeNode, line: Int) -> ReductionStep? {
    let known = ["bits", "group", "symmetric", "format", "sparsity", "pattern"] + Self.calibration
    guard checkKeys(node, known: known, of: "quantize with a method") else { return nil }
    let before = problems.errors.count
    let cards = Self.cards(ReductionMethods.quantization.map { $0.card.name })
    guard let card = method(node, among: cards, standard: PlainRounding.card.name, line: line) else { return nil }
    var step = ReductionStep(
      verb: .quantize, method: card.name, budget: BudgetWish(level: .sparsity(0), goal: .sparsity(0)))
    var wish = CodeWish()
    wish.bits = number(node, "bits")
    wish.group = value(node, "group", expected: "a number of columns or `row`") { written in
      written.text.flatMap { CodeWish.Group($0) }
    }
    wish.isSymmetric = flag(node, "symmetric")
    for word in wish.unknown(to: card) {
      complain(.recipeKey, "\(card.name) has no \(word.rawValue)", line: node[word.rawValue]?.line ?? line)
    }
    guard problems.errors.count == before else { return nil }
    do throws(Problem) {
      step.parameters = try wish.parameters(of: card.name, beside: parameters(node, of: card))
    } catch { complain(.recipeValue, error.message, line: node["parameters"]?.line ?? line) }
    for (name, given) in step.parameters {
      guard let complaint = card.parameter(name)?.complaint(about: given) else { continue }
      complain(.parameterRange, complaint, line: node[name]?.line ?? line)
    }
    if let wish = zeros(node, for: card, line: line) { step.budget = wish }
    readCalibration(node, &step, line: line)
    step.storage = storage(node, reduced: "packed", .packed) ?? .packed
    step.layout = choice(node, "format", PackedLayout.self)
    if step.storage == .dense, let format = node["format"] {
      complain(.recipeValue, "dense tensors have no format", line: format.line)
    }
    return problems.errors.count == before ? step : nil
  }

  /// What `quantize:` takes with a method and a type.
  mutating func blockCalibration(_ node: RecipeNode, line: Int) -> ReductionStep? {
    let place = node["method"]?.line ?? line
    guard node["method"]?.text == GPTQ.card.name else {
      complain(
        .recipeValue, "of the methods only gptq rounds to the blocks of types",
        remedy: "Leave out the method to encode blocks as they are, or the type to make a folder of codes.", line: place
      )
      return nil
    }
    var step = ReductionStep(
      verb: .quantize, method: GPTQ.card.name, budget: BudgetWish(level: .sparsity(0), goal: .sparsity(0)))
    step.parameters = parameters(node, of: GPTQ.card)
    for name in step.parameters.keys.sorted() where name != "damp" {
      complain(.recipeValue, "blocks leave gptq only damp, not \(name)", line: node["parameters"]?.line ?? line)
    }
    readCalibration(node, &step, line: line)
    return step
  }

  /// What becomes zero besides, if it is said.
  private mutating func zeros(_ node: RecipeNode, for card: MethodCard, line: Int) -> BudgetWish? {
    guard let written = node["sparsity"] ?? node["pattern"] else { return nil }
    guard ReductionMethods.makesZeros(card.name) else {
      complain(.recipeValue, "\(card.name) only rounds, and makes no zeros", line: written.line)
      return nil
    }
    return budget(node, makesFactors: false, line: written.line).wish(makesFactors: false)
  }

  private func isCalibrated(_ node: RecipeNode) -> Bool { node["text"] != nil || node["statistics"] != nil }

  /// Where what is known of inputs comes from, and which matrices are meant.
  private mutating func readCalibration(_ node: RecipeNode, _ step: inout ReductionStep, line: Int) {
    step.text = words(node, "text")
    step.statistics = file(node, "statistics")
    if let statistics = step.statistics, !step.text.isEmpty {
      complain(.recipeValue, "text and statistics exclude each other", line: statistics.line)
    }
    if !isCalibrated(node), ReductionMethods.needs(of: step.method, step.parameters) > .nothing {
      complain(
        .recipeValue, "\(step.method) needs to know what reaches the matrices",
        remedy: "Give text, or statistics of `espalier calibrate`.", line: node["method"]?.line ?? line)
    }
    step.sequences = natural(node, "sequences", from: 1)
    step.length = natural(node, "length", from: 1)
    step.seed = natural(node, "seed").map { UInt64($0) }
    step.momentWidth = natural(node, "moment_width")
    step.isOneShot = flag(node, "one_shot") ?? false
    step.keep = words(node, "keep").map(\.path)
    step.only = words(node, "only").map(\.path)
    step.measuresBaseline = flag(node, "baseline") ?? true
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

  private static func cards(_ names: [String]) -> [MethodCard] { names.compactMap { ReductionMethods.card(named: $0) } }

  /// The card of the method that is named.
  ///
  /// - Parameter standard: the one that is taken where none is named; nil where one must be.
  mutating func method(
    _ node: RecipeNode, among cards: [MethodCard], standard: String? = nil, line: Int
  ) -> MethodCard? {
    guard node["method"] == nil || node["method"]?.text != nil else {
      _ = word(node, "method")
      return nil
    }
    let names = cards.map(\.name)
    let place = node["method"]?.line ?? line
    guard let name = node["method"]?.text ?? standard else {
      complain(.recipeValue, "it takes a method", remedy: "Methods: \(names.joined(separator: ", ")).", line: place)
      return nil
    }
    guard let card = cards.first(where: { $0.name == name }) else {
      let near = Spelling.nearest(to: name, among: names)
      complain(
        .recipeValue, "there is no such method: \"\(name)\"" + (near.map { "; did you mean \($0)?" } ?? ""),
        remedy: "Known methods: \(names.joined(separator: ", ")).", line: place)
      return nil
    }
    return card
  }

  private mutating func storage(
    _ node: RecipeNode, reduced name: String, _ storage: ReductionRequest.Storage
  ) -> ReductionRequest.Storage? {
    value(node, "store", expected: "dense or \(name)") {
      $0.text == "dense" ? .dense : $0.text == name ? storage : nil
    }
  }

  /// The parameters of the method, by its card.
  mutating func parameters(_ node: RecipeNode, of card: MethodCard) -> [String: ParameterValue] {
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
