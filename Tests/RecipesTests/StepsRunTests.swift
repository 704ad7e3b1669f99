import EspalierBasics
import EspalierCheckpoints
import EspalierExecution
import EspalierReduction
import TestSupport
import Testing

@testable import EspalierRecipes

/// Recipes of steps from beginning to end, on the family in `Models`.
@Suite struct StepsRunTests {
  /// Merge, prune, measure; `gate` is what the measurement must keep.
  private func recipe(gate: String = "max_kl: 5") -> String {
    """
    steps:
      - merge:
    \(averageOfTwo.indented(by: 6))
      - prune: {method: wanda, sparsity: 0.5, text: \(StepsPlace.text), sequences: 4, length: 128}
      - evaluate: {text: \(StepsPlace.test), window: 128, limit: 2, against: original, \(gate)}

    """
  }

  @Test func stepsGiveTheBytesOfTheVerbs() throws {
    try StepsPlace.with { place in
      let report = try place.execute(recipe())
      #expect(report.passes && report.entries.map(\.verb) == ["merge", "prune", "evaluate"])
      #expect(FileSystem.kind(place.stages) == nil)

      // The same by one verb after the other.
      let (merged, pruned) = ("\(place.folder)/merged", "\(place.folder)/pruned")
      try FileSystem.write(Array(averageOfTwo.utf8), to: "\(place.folder)/merge.yml")
      var options = place.options
      options.output = merged
      let merge = try MergePipeline(
        recipeAt: "\(place.folder)/merge.yml", options: options, listener: SilentListener())
      _ = try merge.run(listener: SilentListener())
      let checkpoint = try SafetensorsCheckpoint(at: merged)
      let text = try CalibrationText([StepsPlace.text], for: checkpoint, sequences: 4, length: 128, seed: nil)
      let request = ReductionRequest(
        method: "wanda", goal: .budget(.sparsity(0.5)), source: .text(text, isSequential: true))
      options.output = pruned
      let plan = try ReductionPlan(request, of: merged, checkpoint: checkpoint, run: place.run, writing: options)
      _ = try ReductionRun.execute(plan, workers: place.run.pool, listener: SilentListener())
      #expect(try place.weights(place.output) == (try place.weights(pruned)))
      #expect(try place.weights(place.output) != (try place.weights(merged)))
      let card = String(decoding: try FileSystem.read("\(place.output)/README.md"), as: UTF8.self)
      #expect(card.contains("\n# out\n") && card.contains("merge_method: linear"))
      for name in ["config.json", "tokenizer.json", "generation_config.json"] {
        let (one, other) = (
          try FileSystem.read("\(place.output)/\(name)"), try FileSystem.read("\(pruned)/\(name)")
        )
        #expect(one == other, "\(name)")
      }

      let verified = try Verification.verify(place.output, threads: 2, listener: SilentListener())
      #expect(verified.problems.isEmpty)
      let json = try JSON(parsing: try FileSystem.read("\(place.output)/report.json"))
      let steps = try #require(json["steps"]?.array)
      #expect(steps.compactMap { $0["verb"]?.string } == ["merge", "prune", "evaluate"])
      #expect(steps.compactMap { $0["recipe_line"]?.integer } == [2, 9, 10])
      #expect(steps[1]["report"]?["matrices"]?.array?.count == 56)
      #expect(steps[2]["report"]?["gates"]?.array?.count == 1)
      let written = String(decoding: try FileSystem.read("\(place.output)/REPORT.md"), as: UTF8.self)
      #expect(written.contains("## Step 2: prune") && written.contains("### What was kept and what was lost"))
      #expect(written.contains("max-kl 5.0 holds") && written.contains("merge_method: linear"))
      #expect(try FileSystem.read("\(place.output)/recipe.yml") == Array(recipe().utf8))
    }
  }

  @Test func aFailingGateLeavesTheStagesForALooserOne() throws {
    try StepsPlace.with { place in
      let failed = try place.execute(recipe(gate: "max_kl: 0.000001"))
      #expect(!failed.passes && failed.entries.last?.passes == false)
      #expect(FileSystem.kind(place.output) == nil)

      // It neither starts over nor goes on by itself.
      #expect(problem { try place.execute(recipe()) }?.code == .outputPartial)
      // What another model would come of is refused.
      let other = recipe().replacing("sparsity: 0.5", with: "sparsity: 0.4")
      let refused = problem { try place.resuming.execute(other) }
      #expect(refused?.code == .journalMismatch && refused?.message.contains("step") == true)
      // So is a model that was changed.
      let file = "\(place.stages)/1-merge/model.safetensors"
      let size = try FileSystem.read(file).count
      try flip(file, at: size - 1)
      #expect(problem { try place.resuming.execute(recipe()) }?.code == .verifyMismatch)
      try flip(file, at: size - 1)
    }
    try StepsPlace.with { place in
      _ = try place.execute(recipe(gate: "max_kl: 0.000001"))
      let pruned = try place.weights("\(place.stages)/2-prune")
      let resumed = try place.resuming.execute(recipe())
      #expect(resumed.passes && resumed.entries.map(\.isKept) == [true, true, false])
      #expect(try place.weights(place.output) == pruned)
      #expect(FileSystem.kind(place.stages) == nil)
      // An output that is there is replaced only when that is asked for.
      #expect(problem { try place.execute(recipe()) }?.code == .outputExists)
      var forcing = place
      forcing.options.policy.force = true
      #expect(try forcing.execute(recipe()).passes)
      #expect(try place.weights(place.output) == pruned)
    }
  }

  @Test func anInterruptedStepGoesOn() throws {
    try StepsPlace.with { place in
      _ = try place.execute(recipe(gate: "max_kl: 0.000001"))
      let wanted = try place.weights("\(place.stages)/2-prune")
      // As it is when a run is ended after a model got its name and before that was noted, and in the next one's midst.
      try FileSystem.remove("\(place.stages)/1-merge.json")
      try FileSystem.remove("\(place.stages)/2-prune")
      try FileSystem.remove("\(place.stages)/2-prune.json")
      let resumed = try place.resuming.execute(recipe())
      #expect(resumed.entries.map(\.isKept) == [false, false, false] && resumed.passes)
      #expect(try place.weights(place.output) == wanted)
    }
  }

  @Test func anOutputThatGotItsNameIsNotMadeAgain() throws {
    try StepsPlace.with { place in
      _ = try place.execute(recipe(gate: "max_kl: 0.000001"))
      // As it is when a run is ended before it removed its stages.
      let kept = "\(place.folder)/kept"
      let stages = place.stages
      try FileSystem.rename(stages, to: kept)
      _ = try place.execute(recipe())
      let wanted = try place.weights(place.output)
      try FileSystem.rename(kept, to: stages)
      let report = try JSON(parsing: try FileSystem.read("\(place.output)/report.json"))
      let placed: JSON = ["run": try #require(report["run"])]
      try FileSystem.write(placed.bytes(), to: "\(stages)/placed.json")
      let resumed = try place.resuming.execute(recipe())
      #expect(resumed.entries.map(\.isKept) == [true, true])
      #expect(FileSystem.kind(stages) == nil)
      #expect(try place.weights(place.output) == wanted)
    }
  }

  @Test func aLaterMergeTakesTheModelSoFar() throws {
    try StepsPlace.with { place in
      let report = try place.execute(
        """
        model: \(StepsPlace.models)/expert-code
        steps:
          - prune: {sparsity: 0.5}
          - merge:
              merge_method: linear
              models:
                - {model: current, parameters: {weight: 1}}
                - {model: original, parameters: {weight: 1}}
              dtype: float32
          - evaluate: {text: \(StepsPlace.test), window: 128, limit: 1, against: previous}

        """)
      #expect(report.entries.count == 3)
      let original = try OutputModel("\(StepsPlace.models)/expert-code")
      let output = try OutputModel(place.output)
      let name = "model.layers.0.mlp.up_proj.weight"
      let (before, after) = (original.values(name), output.values(name))
      // The mean of a weight with itself, or with zero.
      let isMean = zip(before, after).allSatisfy { $1 == $0 || $1 == $0 / 2 }
      #expect(isMean)
      #expect(zip(before, after).count { $1 == $0 / 2 && $0 != 0 } >= before.count / 2 - 256)
    }
  }

  @Test(arguments: [
    "factorize: {share: 0.6, store: factors}", "prune: {size: 9MB, store: sparse}",
    "prune: {method: wanda, sparsity: 0.5, allocate: true, text: \(StepsPlace.text), sequences: 2, length: 64, only: 'layers.[01].mlp'}",
  ])
  func stepsFollowEachOther(step: String) throws {
    try StepsPlace.with { place in
      let report = try place.execute(
        """
        model: \(StepsPlace.models)/base
        steps:
          - \(step)
          - evaluate: {text: \(StepsPlace.test), window: 64, limit: 1, against: previous}
          - prune: {sparsity: 0.25, only: 'layers.7.mlp.down_proj', store: dense}

        """)
      #expect(report.passes && report.entries.count == 3)
      let verified = try Verification.verify(place.output, threads: 2, listener: SilentListener())
      #expect(verified.problems.isEmpty)
    }
  }

  @Test func whatIsRestructuredIsReducedFurther() throws {
    try StepsPlace.with { place in
      // The size is less than the pruned model could have with all its layers.
      let recipe = """
        model: \(StepsPlace.models)/base
        steps:
          - restructure: {method: drop-layers, share: 0.6, parameters: {metric: last}}
          - prune: {size: 3MB, store: sparse}
          - evaluate: {text: \(StepsPlace.test), window: 64, limit: 1, against: original}

        """
      let plan = try place.plan(recipe)
      #expect(plan.text.contains("drop-layers, 0.6 of the parameters"))
      let report = try place.execute(recipe)
      #expect(report.passes && report.entries.map(\.verb) == ["restructure", "prune", "evaluate"])
      let config = try JSON(parsing: try FileSystem.read("\(place.output)/config.json"))
      #expect(try #require(config["num_hidden_layers"]?.integer) < 8)
      #expect(try FileSystem.read("\(place.output)/model.safetensors").count < 3_100_000)
      let verified = try Verification.verify(place.output, threads: 2, listener: SilentListener())
      #expect(verified.problems.isEmpty)
    }
  }

  @Test func aRestructuringThatIsDoneIsKept() throws {
    try StepsPlace.with { place in
      func recipe(_ gate: String) -> String {
        """
        model: \(StepsPlace.models)/base
        steps:
          - restructure: {method: drop-layers, share: 0.8, parameters: {metric: last}}
          - evaluate: {text: \(StepsPlace.test), window: 64, limit: 1, against: original, max_kl: \(gate)}

        """
      }
      #expect(!(try place.execute(recipe("0.000001"))).passes)
      let made = try place.weights("\(place.stages)/1-restructure")
      let resumed = try place.resuming.execute(recipe("50"))
      #expect(resumed.passes && resumed.entries.map(\.isKept) == [true, false])
      #expect(try place.weights(place.output) == made)
    }
  }

  @Test func planningTouchesNothingAndTellsOfEveryStep() throws {
    try StepsPlace.with { place in
      let plan = try place.plan(recipe())
      #expect(try FileSystem.list(place.folder) == ["steps.yml"])
      #expect(plan.text.contains("step 1, merge") && plan.text.contains("step 2, prune (recipe line 9)"))
      #expect(plan.text.contains("model.layers.7.mlp.down_proj.weight") && plan.text.contains("against 1-merge"))
      #expect(plan.json["steps"]?.array?.count == 3)
    }
  }

  @Test func problemsOfEveryStepAreToldBeforeTheFirst() throws {
    try StepsPlace.with { place in
      let found = problems {
        try place.execute(
          """
          steps:
            - merge:
          \(averageOfTwo.indented(by: 8))
            - prune: {method: wanda, sparsity: 0.5, text: [gone.txt, \(StepsPlace.text)]}
            - prune: {pattern: 3:7}
            - factorize: {rank: 100000, only: down_proj}
            - prune: {sparsity: 0.5, only: nothing_is_called_this}
            - evaluate: {text: lost.txt, against: not/here}

          """)
      }
      let lines = Set(found.compactMap(\.context.recipeLine))
      #expect(lines == [9, 10, 11, 12, 13], "\(found)")
      #expect(found.contains { $0.message.contains("gone.txt") } && found.contains { $0.message.contains("lost.txt") })
      #expect(found.contains { $0.message.contains("groups of 7") })
      #expect(found.contains { $0.message.contains("not/here") })
      let files = try FileSystem.list(place.folder)
      #expect(files == ["steps.yml"])
    }
  }

  @Test func inputsAreNeverWrittenTo() throws {
    try StepsPlace.with { place in
      let model = "\(place.folder)/out.stages/mine"
      try TinyLlama(value: 1).write(to: model)
      let found = problems { try place.plan("model: \(model)\nsteps:\n  - prune: {sparsity: 0.5}\n") }
      #expect(found.contains { $0.code == .outputOverlap })
      #expect(found.contains { $0.message.contains("not of a run of steps") })
      #expect(FileSystem.isFile("\(model)/model.safetensors"))
    }
  }
}
