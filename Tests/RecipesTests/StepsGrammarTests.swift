import EspalierBasics
import EspalierCheckpoints
import EspalierEvaluation
import EspalierLinearMaps
import EspalierReduction
import TestSupport
import Testing

@testable import EspalierRecipes

/// What recipes of steps mean, and what is said of those that mean nothing.
@Suite struct StepsGrammarTests {
  private func read(_ text: String) throws -> StepsRecipe {
    var warnings: [Problem] = []
    return try StepsRecipe.read(text, file: "steps.yml", warnings: &warnings)
  }

  /// What is wrong, a line each: the recipe's line and the message.
  private func complaints(_ text: String) -> [String] {
    problems { try read(text) }.map { "\($0.context.recipeLine ?? 0): \($0.message)" }
  }

  @Test func everythingThatAPruningTakes() throws {
    let recipe = try read(
      """
      model: base
      seed: 3
      steps:
        - prune: {method: sparsegpt, sparsity: 0.5, text: [a.txt, b.txt], sequences: 32, length: 512,
                  keep: [down_proj], only: mlp, parameters: {damp: 0.02}, store: sparse, one_shot: true, seed: 1,
                  moment_width: 64, baseline: false, allocate: true, objective: absolute, table: t.json}
      """)
    #expect(recipe.model?.path == "base" && recipe.seed == 3 && recipe.steps.count == 1)
    guard case .reduce(let step) = recipe.steps[0].action else {
      Issue.record("no reduction")
      return
    }
    #expect(step.method == "sparsegpt" && step.parameters == ["damp": .number(0.02)] && step.verb == .prune)
    #expect(step.budget.level == .sparsity(0.5) && step.budget.isAllocated && step.budget.objective == .absolute)
    #expect(step.text.map(\.path) == ["a.txt", "b.txt"] && step.text.allSatisfy { $0.line == 4 })
    #expect(step.sequences == 32 && step.length == 512 && step.seed == 1 && step.momentWidth == 64)
    #expect(step.keep == ["down_proj"] && step.only == ["mlp"] && step.storage == .reduced)
    #expect(step.isOneShot && !step.measuresBaseline && step.table?.path == "t.json")
  }

  @Test func everythingThatARestructuringTakes() throws {
    let recipe = try read(
      """
      model: base
      steps:
        - restructure: {method: drop-layers, share: 0.75, parameters: {metric: divergence, order: one-by-one},
                        text: [a.txt], sequences: 8, length: 256, seed: 2, effect_limit: 3, base: other/model}
        - restructure: {method: width, count: 100M, statistics: s.safetensors}
        - restructure: {method: fairness, share: 0.9, text: a.txt, pairs: p.jsonl}
      """)
    guard case .restructure(let step) = recipe.steps[0].action, case .restructure(let other) = recipe.steps[1].action
    else {
      Issue.record("no restructuring")
      return
    }
    #expect(step.method == "drop-layers" && step.goal == .share(0.75) && step.text.map(\.path) == ["a.txt"])
    #expect(step.parameters == ["metric": .word("divergence"), "order": .word("one-by-one")])
    #expect(step.sequences == 8 && step.length == 256 && step.seed == 2 && step.base?.path == "other/model")
    #expect(step.effectLimit == 3 && other.effectLimit == nil)
    #expect(other.goal == .count(100_000_000) && other.statistics?.path == "s.safetensors" && other.text.isEmpty)
    #expect(recipe.steps.map(\.verb) == ["restructure", "restructure", "restructure"])
    if case .restructure(let fair) = recipe.steps[2].action { #expect(fair.pairs?.path == "p.jsonl") }
  }

  @Test(arguments: [
    ("{share: 0.5}", "it takes a method"),
    ("{method: widht, share: 0.5}", "there is no such method: \"widht\"; did you mean width?"),
    ("{method: width}", "it takes one goal: share (of the parameters that stays) or count (100M)"),
    (
      "{method: width, share: 0.5, count: 3M}",
      "it takes one goal: share (of the parameters that stays) or count (100M)"
    ),
    ("{method: width, share: 1.5}", "share must be above 0 and below 1"),
    ("{method: width, count: many}", "count must be a number of parameters like 1200000 or 100M"),
    ("{method: width, share: 0.5, text: t, statistics: s}", "text and statistics exclude each other"),
    (
      "{method: drop-layers, share: 0.5, parameters: {metrik: random}}",
      "drop-layers has no parameter \"metrik\"; did you mean metric?"
    ),
    ("{method: fairness, share: 0.5, text: t}", "fairness takes pairs"),
    ("{method: width, share: 0.5, text: t, pairs: p}", "width has no use for pairs"),
    ("{method: width, share: 0.5, statistics: s, effect_limit: 3}", "effect_limit goes with text"),
    ("{method: width, share: 0.5, sparsity: 0.5}", "restructure has no key \"sparsity\""),
  ])
  func restructuringRefusesOnce(step: String, message: String) {
    let found = problems { try read("model: m\nsteps:\n  - restructure: \(step)") }
    #expect(found.map(\.message) == [message])
  }

  @Test func quantizeWithAMethodReadsAllItsKeys() throws {
    let recipe = try read(
      """
      model: base
      steps:
        - quantize: {method: gptq, bits: 3, group: 96, symmetric: false, parameters: {damp: 0.02}, text: a.txt,
                     sequences: 8, format: pack-quantized, keep: down_proj, one_shot: true, baseline: false}
      """)
    guard case .reduce(let step) = recipe.steps[0].action else {
      Issue.record("no reduction")
      return
    }
    #expect(step.verb == .quantize && recipe.steps[0].verb == "quantize" && step.method == "gptq")
    // Groups that do not divide a sweep's block of 128 columns get blocks of their own width.
    #expect(
      step.parameters == [
        "bits": .number(3), "scales": .word("group"), "group_size": .number(96), "block_size": .number(96),
        "symmetric": .flag(false), "damp": .number(0.02),
      ])
    #expect(step.storage == .packed && step.layout == .packQuantized && step.budget.level == .sparsity(0))
    #expect(step.text.map(\.path) == ["a.txt"] && step.sequences == 8 && step.keep == ["down_proj"])
    #expect(step.isOneShot && !step.measuresBaseline)
  }

  @Test func quantizeForATargetReadsAllItsKeys() throws {
    let recipe = try read(
      """
      model: base
      steps:
        - quantize: {size: 100MB, effect_text: [a.txt], effect_limit: 2, effect_window: 64, types: [q4_0, Q8_0],
                     table: t.json, tensor_types: 'ffn_down=Q6_K', refined: true}
      """)
    guard case .quantize(let step) = recipe.steps[0].action, let target = step.target else {
      Issue.record("no target")
      return
    }
    #expect(target.goal == .bytes(100_000_000) && target.types == [.q4_0, .q8_0])
    #expect(target.effectText.map(\.path) == ["a.txt"] && target.table?.path == "t.json")
    #expect(target.effectLimit == 2 && target.effectWindow == 64 && step.isRefined && step.rules.count == 1)
  }

  @Test func quantizeByVarianceAndByBlocksThatAreCalibrated() throws {
    let recipe = try read(
      """
      model: base
      steps:
        - quantize: {bits: 4.5, signal: variance}
      """)
    guard case .quantize(let step) = recipe.steps[0].action, let target = step.target else {
      Issue.record("no target")
      return
    }
    #expect(target.signal == .variance && target.effectText.isEmpty && step.calibration == nil)
    let other = try read(
      """
      model: base
      steps:
        - quantize: {method: gptq, type: Q3_K_M, text: a.txt, sequences: 4, parameters: {damp: 0.02}, keep: up_proj,
                     tensor_types: 'ffn_down=Q6_K', one_shot: true}
      """)
    guard case .quantize(let step) = other.steps[0].action, let calibration = step.calibration else {
      Issue.record("no calibration")
      return
    }
    #expect(step.mix.name == "Q3_K_M" && step.rules.count == 1 && calibration.text.map(\.path) == ["a.txt"])
    #expect(calibration.sequences == 4 && calibration.parameters == ["damp": .number(0.02)])
    #expect(calibration.keep == ["up_proj"] && calibration.isOneShot)
  }

  @Test(arguments: [
    ("{size: 1MB, table: t, signal: variance}", "a table has its own signal"),
    ("{max_kl: 0.1, signal: variance}", "the variance of weights foresees no divergence"),
    (
      "{size: 1MB}", "a target needs effect_text, on which effects are measured, a table of them, or `signal: variance`"
    ),
    ("{method: awq, type: Q4_0, text: t}", "of the methods only gptq rounds to the blocks of types"),
    ("{method: gptq, type: Q4_0, text: t, parameters: {bits: 3}}", "blocks leave gptq only damp, not bits"),
    ("{method: gptq, type: Q4_0}", "gptq needs to know what reaches the matrices"),
    ("{method: fp8, group: 32}", "fp8 has no group"),
  ])
  func quantizingRefusesOnce(step: String, message: String) {
    let found = problems { try read("model: m\nsteps:\n  - quantize: \(step)") }
    #expect(found.map(\.message) == [message])
  }

  @Test func remediesSpeakOfKeys() {
    let pairs = [
      ("Leave it out with --keep, or give --store dense.", "Leave it out with `keep`, or give `store: dense`."),
      ("Give --format gptq_v2, or quantize symmetrically.", "Give `format: gptq_v2`, or quantize symmetrically."),
      (
        "Give --set static_groups=true, or --format gptq.",
        "Give `parameters: {static_groups: true}`, or `format: gptq`."
      ),
      (
        "Choose another --group or --format, or leave it out with --keep.",
        "Choose another `group` or `format`, or leave it out with `keep`."
      ),
      ("Raise --memory, or keep less with --moment-width.", "Raise --memory, or keep less with `moment_width`."),
      ("`espalier quantize --save-table` writes one.", "`espalier quantize --save-table` writes one."),
    ]
    for (option, key) in pairs { #expect(RecipeWords.text(option) == key) }
  }

  @Test(arguments: [
    ("prune: {pattern: 2:4}", MatrixBudget.pattern(keep: 2, of: 4)), ("prune: {sparsity: 0.25}", .sparsity(0.25)),
    ("factorize: {rank: 7}", .rank(7)), ("factorize: {share: 0.7}", .parameters(0.7)),
  ])
  func budgetsOfOneLevel(step: String, level: MatrixBudget) throws {
    guard case .reduce(let step) = try read("model: m\nsteps:\n  - \(step)").steps[0].action else {
      Issue.record("no reduction")
      return
    }
    #expect(step.budget.level == level && !step.budget.needsResolution)
  }

  /// A sparsity is rounded in favour of what stays, a share is kept strictly.
  @Test func aShareOfWhatStaysIsNoSparsity() throws {
    guard case .reduce(let step) = try read("model: m\nsteps:\n  - prune: {share: 0.75}").steps[0].action else {
      Issue.record("no reduction")
      return
    }
    #expect(step.budget.level == nil && step.budget.goal == .parameters(0.75) && step.budget.needsResolution)
  }

  @Test func methodsOfBlocksTakeAShareAlone() throws {
    let recipe = try read(
      """
      model: m
      steps:
        - factorize: {method: lorap, share: 0.8, text: t}
        - factorize: {method: ffsplit, share: 0.8, text: t, parameters: {heavy: 0.1}}
      """)
    let steps = recipe.steps.compactMap { step in
      if case .reduce(let reduction) = step.action { reduction } else { nil }
    }
    #expect(steps.map(\.storage) == [.reduced, .reduced] && steps[1].parameters == ["heavy": .number(0.1)])
    for budget in ["size: 10MB", "share: 0.8, allocate: true", "max_error: 0.1", "rank: 4"] {
      let found = problems { try read("model: m\nsteps:\n  - factorize: {method: lorap, \(budget), text: t}") }
      #expect(found.count == 1 && found[0].message == "lorap takes a share alone, and deals it out itself")
    }
  }

  @Test func goalsOfWholeModelsAndStandardMethods() throws {
    let recipe = try read(
      """
      model: m
      steps:
        - prune: {size: 10MB, store: sparse}
        - prune: {max_error: 0.1, text: t}
        - factorize: {share: 0.5, statistics: s}
        - factorize: {share: 0.5, store: dense}
      """)
    let steps = recipe.steps.compactMap { step in
      if case .reduce(let reduction) = step.action { reduction } else { nil }
    }
    #expect(steps.map(\.method) == ["magnitude", "sparsegpt", "whitened-svd", "svd"])
    #expect(steps.map(\.storage) == [.reduced, .dense, .reduced, .dense])
    #expect(steps[0].budget.goal == .bytes(10_000_000) && !steps[0].budget.needsTable)
    #expect(steps[1].budget.goal == .maxError(0.1) && steps[1].budget.needsTable)
  }

  @Test func everythingThatAnEvaluationTakes() throws {
    let recipe = try read(
      """
      model: m
      steps:
        - prune: {sparsity: 0.5}
        - evaluate: {text: t.txt, window: 256, limit: 8, protocol: sliding, stride: 64, seed: 5, against: original,
                     max_kl: 0.5, max_perplexity_rise: 5%, strict: true}
        - evaluate: {choices: [c.jsonl], against: other/model, max_accuracy_drop: 2%}
      """)
    guard case .evaluate(let step) = recipe.steps[1].action, case .evaluate(let other) = recipe.steps[2].action else {
      Issue.record("no evaluation")
      return
    }
    #expect(step.reference == .original && step.cut == .sliding && step.stride == 64 && step.window == 256)
    #expect(step.limit == 8 && step.seed == 5)
    #expect(step.gates == [Gate(.maximumKL, 0.5, strict: true), Gate(.maximumPerplexityRise, 0.05, strict: true)])
    #expect(other.reference == .model(ModelReference(path: "other/model", line: 6)))
  }

  @Test func allIsToldAtOnceWithItsLine() {
    let found = complaints(
      """
      model: m
      steps:
        - prune:
            methd: wanda
            sparsity: 1.5
        - prune: {method: wandaa, sparsity: 0.5}
        - prune: {method: wanda, sparsity: 0.5}
        - prune: {sparsity: 0.5, share: 0.5, text: t}
        - prune: {text: t, statistics: s, sparsity: half}
        - factorize:
            method: whitened-svd
            parameters: 0.7
            share: 0.7
            text: t
        - prune: {method: sparsegpt, text: t, sparsity: 0.5, parameters: {dampp: 1, damp: -1}}
        - factorize: {rank: 3, allocate: true, sequences: 0, store: sparse}
        - prun: {}
        - merge: {merge_method: linaer, models: [{model: a}]}
        - evaluate: {max_kl: 0.1}
        - evaluate: {text: t, max_kl: 0.1, max_perplexity_rise: 5}
        - evaluate: {text: t, against: a, max_perplexity: 12, stride: 3}
      """)
    #expect(
      found == [
        "4: prune has no key \"methd\"; did you mean method?",
        "5: sparsity must be from 0 to 1",
        "6: there is no such method: \"wandaa\"; did you mean wanda?",
        "7: wanda needs to know what reaches the matrices",
        "8: it takes one budget: sparsity, pattern, share, size or max_error",
        "9: sparsity must be a number",
        "9: text and statistics exclude each other",
        "12: parameters must be a map of the method's parameters",
        "15: sparsegpt has no parameter \"dampp\"; did you mean damp?",
        "15: damp is -1 but must be a number from 0 to 1",
        "16: rank is one rank for all; allocate takes a share or a size",
        "16: sequences must be a whole number from 1",
        "16: store must be dense or factors",
        "17: there is no step \"prun\"; did you mean prune?",
        "18: there is no merge method \"linaer\"; did you mean linear?",
        "19: evaluate has nothing to measure on",
        "20: max_kl limits a figure that is not measured",
        "20: max_perplexity_rise 5 is a share of 1 or more; a percentage has its sign: 5%",
        "21: stride needs `protocol: sliding`",
      ])
  }

  @Test(arguments: [
    ("steps: []", "1: steps must be a list with at least one entry"),
    ("merge_method: linear\nmodels: [{model: a}]", "1: the recipe has no steps"),
    ("steps:\n  - prune: {sparsity: 0.5}", "1: the recipe names no model for its first step"),
    ("model: m\nsteps:\n  - evaluate: {text: t}", "1: no step makes a model"),
    (
      "model: m\nsteps:\n  - merge: {merge_method: linear, models: [{model: a, parameters: {weight: 1}}]}",
      "3: the merge leaves out the model that there is already"
    ),
    (
      "model: m\nsteps:\n  - evaluate: {text: t, against: original}\n  - prune: {sparsity: 0.5}",
      "3: there is no earlier model to compare with: no step before this one changed it"
    ),
    ("model: m\nsteps:\n  - {prune: {sparsity: 0.5}, evaluate: {text: t}}", "3: a step is one of merge"),
    ("model: m\nsteps:\n  - prune: {sparsity: 0.5}\n---\nmodel: b\n", "a recipe of steps is one document"),
    (
      "model: m\nsteps:\n  - prune: {sparsity: 0.5}\n  - evaluate: {text: t, against: original, max_perplexity: 9}",
      "4: max_perplexity limits a figure that is not measured"
    ),
  ])
  func stepsThatDoNotFollow(recipe: String, complaint: String) {
    let found = complaints(recipe)
    #expect(found.count == 1 && found.first?.contains(complaint) == true, "\(found)")
  }

  @Test func aMergeIsToldOfRun() throws {
    try Workplace.with { place in
      let found = problem { try place.plan("model: m\nsteps:\n  - prune: {sparsity: 0.5}\n") }
      #expect(found?.code == .recipeSteps && found?.context.recipeLine == 2)
      #expect(found?.remedy == "Use `espalier run`.")
    }
  }
}
