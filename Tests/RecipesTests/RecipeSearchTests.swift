import EspalierBasics
import EspalierRecipes
import TestSupport
import Testing

private let recipe = """
  # A comment goes.
  search:
    w: [0.2, 0.4, 0.6]
    d: [0.3, 0.5]
  merge_method: ties
  base_model: base
  models:
    - {model: a, parameters: {weight: $w, density: $d}}
    - model: b
      parameters:
        weight: [$w, 1]   # a point of a gradient
        density: $d
  dtype: "float32"
  """

private func search(_ text: String) throws -> RecipeSearch {
  var warnings: [Problem] = []
  return try RecipeSearch(parsing: text, file: "recipe.yml", warnings: &warnings)
}

@Suite struct RecipeSearchReadingTests {
  @Test func variablesAreInTheirOrder() throws {
    let search = try search(recipe)
    #expect(search.variables.map(\.name) == ["w", "d"])
    #expect(search.variables.map(\.values) == [["0.2", "0.4", "0.6"], ["0.3", "0.5"]])
    #expect(search.variables.map(\.line) == [3, 4])
    #expect(search.count == 6)
  }

  @Test func candidatesArePlainRecipes() throws {
    let candidate = try search(recipe).candidate([1, 0])
    #expect(candidate.values == ["0.4", "0.3"])
    #expect(
      candidate.text == """
        merge_method: ties
        base_model: base
        models:
          - model: a
            parameters:
              weight: 0.4
              density: 0.3
          - model: b
            parameters:
              weight:
                - 0.4
                - 1
              density: 0.3
        dtype: "float32"

        """)
    #expect(candidate.digest == Digest(of: candidate.text))
    var warnings: [Problem] = []
    let read = try Recipe.read(candidate.text, file: "recipe.yml", warnings: &warnings)
    #expect(warnings.isEmpty && read.count == 1)
    #expect(read[0].method == "ties")
  }

  /// Any scalar may be open, not parameters alone.
  @Test func methodsModelsAndLayersMayBeOpen() throws {
    let search = try search(
      """
      search: {k: [2, 3], m: [a, "b c"], method: [linear, passthrough]}
      ---
      merge_method: $method
      slices:
        - sources: [{model: $m, layer_range: [0, $k]}]
        - sources: [{model: d, layer_range: [$k, 8]}]
      parameters: {weight: 1, scale: 1}
      """)
    let text = search.candidate([1, 1, 0]).text
    #expect(text.contains("merge_method: linear") && text.contains("model: \"b c\""))
    #expect(text.contains("layer_range:\n          - 0\n          - 3\n"), "\(text)")
    #expect(!text.contains("---") && !text.contains("$"))
  }

  /// Whatever YAML can say comes out with the same meaning.
  @Test func rewritingKeepsTheMeaning() throws {
    let text = """
      search: {w: [1, 2]}
      name: first
      merge_method: linear
      models: [{model: a}, {model: ./b-c@main+d}]
      parameters: {weight: [{filter: mlp, value: $w}, {value: !!float 0.5}]}
      tokenizer:
        source: union
        tokens:
          "<|im: end|>": {source: a, force: true}
          'it''s': {source: {kind: zero}}
      chat_template: |
        {% for m in messages %}"$w" # no comment
        {{ m }}	tab \\ backslash
        {% endfor %}
      out_dtype: ~
      ---
      merge_method: linear
      models: [{model: first, parameters: {weight: $w}}]
      """
    let candidate = try search(text).candidate([1])
    let fixed =
      text.replacing("search: {w: [1, 2]}\n", with: "").replacing("value: $w", with: "value: 2")
      .replacing("weight: $w", with: "weight: 2")
    var warnings: [Problem] = []
    let expected = try Recipe.read(fixed, file: "r", warnings: &warnings)
    let found = try Recipe.read(candidate.text, file: "r", warnings: &warnings)
    #expect(found.count == 2 && warnings.isEmpty)
    for (found, expected) in zip(found, expected) {
      #expect(found.name == expected.name && found.method == expected.method)
      #expect(found.chatTemplate == expected.chatTemplate)
      #expect(found.models.map(\.key) == expected.models.map(\.key))
      #expect(
        found.parameters.entries.mapValues(\.setting) == expected.parameters.entries.mapValues(\.setting))
      #expect(found.tokenizer?.tokens.map(\.token) == expected.tokenizer?.tokens.map(\.token))
      #expect(found.tokenizer?.tokens.map(\.force) == expected.tokenizer?.tokens.map(\.force))
    }
    #expect(found[0].chatTemplate?.contains("\"$w\" # no comment\n") == true)
  }

  @Test(arguments: [
    ("merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}]", "the recipe has nothing to search"),
    (
      "search: {w: [1]}\nmerge_method: linear\nmodels: [{model: a, parameters: {weight: $v}}]",
      "search has no v; did you mean $w?"
    ),
    ("search: {w: [1]}\nmerge_method: linear\nmodels: [{model: a}]", "$w stands nowhere in the recipe"),
    ("search: {w: 1}\nmerge_method: $w", "w must be a list of numbers, flags or words"),
    ("search: {w: []}\nmerge_method: $w", "w must be a list of numbers, flags or words"),
    ("search: {w: [[1]]}\nmerge_method: $w", "w must be a list of numbers, flags or words"),
    ("search: {w: [1, 1]}\nmerge_method: $w", "w has a value twice"),
    ("search: [w]\nmerge_method: linear", "search must be a map from names to lists of values"),
    (
      "search: {1w: [1]}\nmerge_method: linear",
      "\"1w\" is no name: letters, digits and _, beginning with a letter or _"
    ),
    ("search: {w: [1]}\na: $w\n---\nsearch: {v: [1]}\na: $v", "there is a second search"),
  ])
  func mistakesAreNamed(_ text: String, _ message: String) {
    let found = problems { try search(text) }
    #expect(found.contains { $0.code == .recipeSearch && $0.message == message }, "\(found)")
  }

  /// Values out of range are told before anything is tried, each once with its line.
  @Test func everyValueIsChecked() {
    let found = problems { try search(recipe.replacing("[0.3, 0.5]", with: "[0.3, 1.5, nonsense]")) }
    #expect(found.contains { $0.message == "density is 1.5 but must be a number from 0 to 1" })
    #expect(found.contains { $0.message.hasPrefix("density must be a number from 0 to 1") })
    #expect(found.allSatisfy { $0.context.recipeLine == 8 || $0.context.recipeLine == 12 }, "\(found)")
  }

  @Test func aPlainMergeRefusesASearch() {
    var warnings: [Problem] = []
    let found = problems { try Recipe.read(recipe, file: "recipe.yml", warnings: &warnings) }
    #expect(found.map(\.code) == [.recipeSearch] && found[0].context.recipeLine == 2, "\(found)")
  }
}

@Suite struct RecipeSearchRunTests {
  /// Best at w = 0.4, d = 0.5; separable.
  private func fake(_ candidate: RecipeSearch.Candidate) -> RecipeScore {
    let (w, d) = (Double(candidate.values[0]) ?? .nan, Double(candidate.values[1]) ?? .nan)
    return RecipeScore((w - 0.4) * (w - 0.4) + (0.5 - d), figures: [.init("w", w), .init("d", d)])
  }

  @Test func gridTriesEverythingInOrder() throws {
    let report = try search(recipe).run(.init(goal: .minimize), objective: fake)
    #expect(
      report.trials.map(\.candidate.choice) == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0], [2, 1]])
    #expect(report.best == 3 && report.isComplete)
    #expect(report.bestTrial?.candidate.values == ["0.4", "0.5"])
  }

  @Test func maximizingTurnsTheOrder() throws {
    let report = try search(recipe).run(.init(goal: .maximize), objective: fake)
    // (0.2 - 0.4)² + 0.2 and (0.6 - 0.4)² + 0.2 differ by rounding alone or not at all.
    #expect(report.best == 0 || report.best == 4)
  }

  /// The earliest of equals is the best.
  @Test func tiesGoToTheFirst() throws {
    let report = try search(recipe).run(.init(goal: .minimize)) { _ in RecipeScore(1) }
    #expect(report.best == 0)
  }

  /// A budget smaller than the grid is spread over it: of 6 combinations 4 are tried, none twice, both values of d.
  @Test func smallBudgetsAreSpread() throws {
    var options = RecipeSearchOptions(goal: .minimize)
    options.budget = 4
    let report = try search(recipe).run(options, objective: fake)
    #expect(report.trials.count == 4 && !report.isComplete)
    #expect(Set(report.trials.map(\.candidate.choice)).count == 4)
    #expect(Set(report.trials.map { $0.candidate.choice[0] }) == [0, 1, 2])
    #expect(try search(recipe).run(options, objective: fake).trials.map(\.candidate) == report.trials.map(\.candidate))
  }

  @Test func coordinatesFindTheBestOfSeparableScores() throws {
    var options = RecipeSearchOptions(goal: .minimize)
    options.strategy = .coordinate
    let report = try search(recipe).run(options, objective: fake)
    #expect(report.isComplete && report.bestTrial?.candidate.choice == [1, 1])
    // First round: (0,0), w: (1,0) (2,0), d: (1,1); second: (0,1) (2,1).
    #expect(report.trials.map(\.candidate.choice) == [[0, 0], [1, 0], [2, 0], [1, 1], [0, 1], [2, 1]])
    options.budget = 3
    let short = try search(recipe).run(options, objective: fake)
    #expect(short.trials.count == 3 && !short.isComplete && short.best == 1)
  }

  /// With many variables coordinates need sums, not products: 6 variables of 5 values have 15,625 combinations.
  @Test func coordinatesScale() throws {
    let names = ["a", "b", "c", "d", "e", "f"]
    let text =
      "search: {" + names.map { "\($0): [1, 2, 3, 4, 5]" }.joined(separator: ", ") + "}\n"
      + "merge_method: linear\nmodels:\n"
      + names.map { "  - {model: m\($0), parameters: {weight: $\($0)}}" }.joined(separator: "\n")
    let search = try search(text)
    #expect(search.count == 15_625)
    var options = RecipeSearchOptions(goal: .maximize)
    options.strategy = .coordinate
    let report = try search.run(options) { candidate in
      RecipeScore(candidate.choice.enumerated().reduce(0) { $0 - Double(abs($1.element - $1.offset % 5)) })
    }
    #expect(report.bestTrial?.candidate.choice == [0, 1, 2, 3, 4, 0])
    #expect(report.isComplete && report.trials.count <= 1 + 2 * 6 * 4)
  }

  @Test func scoresThatAreNotFiniteLose() throws {
    let report = try search(recipe).run(.init(goal: .minimize)) { candidate in
      RecipeScore(candidate.choice == [2, 0] ? 7 : candidate.choice[0] == 0 ? -.infinity : .nan)
    }
    #expect(report.bestTrial?.candidate.choice == [2, 0])
    let none = try search(recipe).run(.init(goal: .maximize)) { _ in RecipeScore(.infinity) }
    #expect(none.best == nil && none.trials.count == 6)
  }

  @Test func gridsBeyondAMillionAreRefused() throws {
    let values = (0..<100).map(String.init).joined(separator: ", ")
    let text =
      "search: {a: [\(values)], b: [\(values)], c: [\(values)], d: [1, 2]}\nmerge_method: linear\n"
      + "models: [{model: x, parameters: {weight: [$a, $b, $c, $d]}}]"
    let found = problems { try search(text).run(.init(goal: .minimize)) { _ in RecipeScore(0) } }
    #expect(found.map(\.message) == ["the grid has more than 1000000 combinations"])
  }

  @Test func tableAndJSON() throws {
    var options = RecipeSearchOptions(goal: .minimize)
    options.budget = 2
    options.strategy = .coordinate
    let report = try search(recipe).run(options) { candidate in
      RecipeScore(Double(candidate.choice[0]) + 0.5, figures: [.init("code", 2)])
    }
    #expect(
      report.table(scoreName: "loss") == """
           trial  w    d    loss  code
        *  0      0.2  0.3  0.5   2.0
           1      0.4  0.3  1.5   2.0
        """)
    #expect(report.json["best"] == 0 && report.json["complete"] == false)
    #expect(report.json["trials"]?[1]?["values"]?.text() == #"{"w":"0.4","d":"0.3"}"#)
  }
}

@Suite struct RecipeSearchLogTests {
  private func options(_ folder: String, resume: Bool = false) -> RecipeSearchOptions {
    var options = RecipeSearchOptions(goal: .minimize)
    options.log = "\(folder)/trials.jsonl"
    options.resume = resume
    options.protocolText = ["metric": "perplexity", "text": "abc"]
    return options
  }

  private func score(_ candidate: RecipeSearch.Candidate) -> RecipeScore {
    RecipeScore(
      candidate.choice == [1, 0] ? .infinity : 1 / Double(3 + candidate.choice[0] + 10 * candidate.choice[1]),
      figures: [.init("naïve", 0.1)])
  }

  @Test func everyTrialIsALine() throws {
    try withTemporaryFolder { folder in
      let search = try search(recipe)
      _ = try search.run(options(folder), objective: score)
      let text = String(decoding: try FileSystem.read("\(folder)/trials.jsonl"), as: UTF8.self)
      let lines = text.split(separator: "\n")
      #expect(lines.count == 7)
      #expect(lines[0] == #"{"goal":"minimize","protocol":{"metric":"perplexity","text":"abc"},"search":1}"#)
      let trial = try JSON(parsing: String(lines[3]))
      #expect(trial["recipe"]?.string == search.candidate([1, 0]).digest.description)
      #expect(trial["score"]?.isNull == true && trial["trial"] == 2)
    }
  }

  /// Of scores that are not finite the log keeps no more than that.
  private func finite(_ score: RecipeScore) -> Double? { score.value.isFinite ? score.value : nil }

  /// Stopped after any number of trials, and in the middle of a line, the search goes on and ends as if undisturbed.
  @Test(arguments: [RecipeSearchStrategy.grid, .coordinate]) func resumedSearchesEndAlike(
    _ strategy: RecipeSearchStrategy
  ) throws {
    try withTemporaryFolder { folder in
      let search = try search(recipe)
      var whole = options(folder)
      whole.strategy = strategy
      let expected = try search.run(whole, objective: score)
      let log = try FileSystem.read("\(folder)/trials.jsonl")
      let ends = log.indices.filter { log[$0] == UInt8(ascii: "\n") }
      for cut in 0...ends.count {
        for torn in [0, 9] {
          let length = cut == 0 ? 0 : ends[cut - 1] + 1
          try FileSystem.write(Array(log.prefix(length + torn)), to: "\(folder)/trials.jsonl")
          var asked = 0
          whole.resume = true
          let report = try search.run(whole) { candidate in
            asked += 1
            return score(candidate)
          }
          #expect(asked == expected.trials.count - max(0, min(cut, ends.count) - 1))
          #expect(report.trials.map(\.candidate) == expected.trials.map(\.candidate))
          #expect(report.trials.map { finite($0.score) } == expected.trials.map { finite($0.score) })
          #expect(report.best == expected.best && report.isComplete)
          #expect(report.trials.map(\.score.figures) == expected.trials.map(\.score.figures))
          #expect(try FileSystem.read("\(folder)/trials.jsonl") == log, "cut after line \(cut), \(torn) bytes more")
        }
      }
    }
  }

  /// An objective that throws ends the search; what was done is kept.
  @Test func failuresKeepWhatIsDone() throws {
    try withTemporaryFolder { folder in
      let search = try search(recipe)
      let found = problems {
        try search.run(options(folder)) { (candidate) throws(Problem) in
          if candidate.choice == [1, 1] { throw Problem(.diskFull, "no room") }
          return score(candidate)
        }
      }
      #expect(found.map(\.code) == [.diskFull])
      let report = try search.run(options(folder, resume: true), objective: score)
      #expect(report.trials.map(\.isKnown) == [true, true, true, false, false, false])
    }
  }

  /// Scores belong to recipes: with longer lists, what was tried is not tried again.
  @Test func listsMayGrow() throws {
    try withTemporaryFolder { folder in
      _ = try search(recipe).run(options(folder), objective: score)
      let longer = try search(recipe.replacing("[0.2, 0.4, 0.6]", with: "[0.1, 0.2, 0.4, 0.6]"))
      let report = try longer.run(options(folder, resume: true)) { _ in RecipeScore(9) }
      #expect(report.trials.filter { !$0.isKnown }.map(\.candidate.values) == [["0.1", "0.3"], ["0.1", "0.5"]])
    }
  }

  @Test func logsOfOthersAreRefused() throws {
    try withTemporaryFolder { folder in
      let search = try search(recipe)
      _ = try search.run(options(folder), objective: score)
      func message(_ options: RecipeSearchOptions) -> String? {
        problems { try search.run(options, objective: score) }.first?.message
      }
      #expect(message(options(folder)) == "the log of a search is there already")
      var other = options(folder, resume: true)
      other.goal = .maximize
      #expect(
        message(other) == #"the log is of another search: its goal is "minimize", this one's is "maximize""#)
      other = options(folder, resume: true)
      other.protocolText = ["metric": "perplexity", "text": "abd"]
      #expect(message(other)?.hasPrefix("the log is of another search: its protocol is") == true)
      var log = try FileSystem.read("\(folder)/trials.jsonl")
      log[200] = UInt8(ascii: "\n")
      try FileSystem.write(log, to: "\(folder)/trials.jsonl")
      #expect(message(options(folder, resume: true)) == "line 2 of the log is not what a search writes")
    }
  }
}

/// A search over real merges: the caller merges and measures.
@Suite struct RecipeSearchMergeTests {
  @Test func candidatesMerge() throws {
    try Workplace.with(["a": TinyLlama(value: 1), "b": TinyLlama(value: 5)]) { place in
      let text = """
        search: {t: [0, 0.25, 0.5, 0.75, 1]}
        merge_method: linear
        models:
          - {model: a, parameters: {weight: 1}}
          - {model: b, parameters: {weight: $t}}
        """
      let search = try search(text)
      // Wanted: (1 + 5 t) / (1 + t) = 3, at t = 1.
      let report = try search.run(.init(goal: .minimize)) { (candidate) throws(Problem) in
        var options = place.options
        options.output = place.path("candidate-\(candidate.choice[0])")
        do {
          _ = try MergePipeline(
            recipe: candidate.text, of: place.path("recipe.yml"), options: options, listener: SilentListener()
          ).run(listener: SilentListener())
          return RecipeScore(abs(Double(try OutputModel(options.output).first("model.norm.weight") ?? .nan) - 3))
        } catch { throw Problem(.recipeSearch, "\(error)") }
      }
      #expect(report.bestTrial?.candidate.values == ["1"] && report.bestTrial?.score.value == 0)
      // |(1 + 5 t) / (1 + t) - 3| for every t.
      let expected = [2, 1.2, 2.0 / 3, 2.0 / 7, 0]
      #expect(report.trials.count == 5)
      #expect(zip(report.trials, expected).allSatisfy { abs($0.score.value - $1) < 1e-6 }, "\(report.table())")
    }
  }
}
