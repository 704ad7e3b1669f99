import EspalierBasics
import TestSupport
import Testing

/// `espalier run`, as a stranger runs it.
@Suite(.serialized) struct StepsTests {
  private struct Scene {
    let folder: String
    var recipe: String { "\(folder)/steps.yml" }
    var output: String { "\(folder)/out" }
    var stages: String { output + ".stages" }

    init(in folder: String, gate: String = "max_kl: 5") throws {
      self.folder = folder
      try setGate(gate)
    }

    func setGate(_ gate: String) throws {
      let models = "\(packageFolder)/Models"
      try write(
        """
        steps:
          - merge:
              merge_method: linear
              models:
                - {model: \(models)/expert-code, parameters: {weight: 1}}
                - {model: \(models)/expert-prose, parameters: {weight: 1}}
          - prune: {method: wanda, sparsity: 0.5, text: \(models)/text/calib/docs.txt, sequences: 8, length: 256}
          - evaluate: {text: \(models)/text/test/docs.txt, window: 128, limit: 2, against: original, \(gate)}

        """, to: recipe)
    }

    func run(_ options: String...) throws -> Program.Outcome {
      try Program.run(["run", recipe, "-o", output] + options)
    }

    func weights(_ folder: String) throws -> [UInt8] { try FileSystem.read("\(folder)/model.safetensors") }
  }

  @Test func theExampleRunsAndIsVerified() throws {
    try withTemporaryFolder { folder in
      let recipe = "\(packageFolder)/Examples/steps/half-of-two.yml"
      let plan = try Program.run("run", recipe, "-o", "\(folder)/out", "--plan")
      #expect(plan.code == 0 && plan.output.contains("step 3, evaluate (recipe line 17)"), "\(plan)")
      #expect(try FileSystem.list(folder).isEmpty)
      let run = try Program.run("run", recipe, "-o", "\(folder)/out")
      #expect(run.code == 0 && run.output.contains("max-perplexity-rise 20.00 % holds on code.txt"), "\(run)")
      #expect(try FileSystem.list(folder) == ["out"])
      let verify = try Program.run("verify", "\(folder)/out")
      #expect(verify.code == 0 && verify.output.contains("all as written"), "\(verify)")
      let generate = try Program.run("generate", "\(folder)/out", "--prompt", "def", "--max-tokens", "4")
      #expect(generate.code == 0, "\(generate)")
    }
  }

  @Test func aGateThatDoesNotHoldIsTheExitCode() throws {
    try withTemporaryFolder { folder in
      let scene = try Scene(in: folder, gate: "max_kl: 0.000001")
      let failed = try scene.run()
      #expect(failed.code == 3 && failed.output.contains("max-kl 1e-06 fails"), "\(failed)")
      #expect(failed.output.contains("--resume") && !FileSystem.isFolder(scene.output), "\(failed)")
      let pruned = try scene.weights("\(scene.stages)/2-prune")
      let refused = try scene.run()
      #expect(refused.code == 1 && refused.errors.contains("--resume"), "\(refused)")
      // The gate was not loosened.
      #expect(try scene.run("--resume").code == 3)
      try scene.setGate("max_kl: 5")
      let resumed = try scene.run("--resume", "--json")
      #expect(resumed.code == 0, "\(resumed)")
      let report = try #require(try resumed.events.last)
      #expect(report["steps"]?.array?.compactMap { $0["kept"]?.bool } == [true, true, false])
      #expect(try scene.weights(scene.output) == pruned)
      #expect(!FileSystem.isFolder(scene.stages))
    }
  }

  @Test func killedAnywhereAndResumed() throws {
    let seed = UInt64.random(in: 0 ..< .max)
    var generator = SeededGenerator(seed: seed)
    try withTemporaryFolder { folder in
      let reference = try Scene(in: folder)
      #expect(try reference.run("--quiet").code == 0)
      let wanted = try reference.weights(reference.output)
      try FileSystem.remove(reference.output)
      // What is there when the run is killed, or what it has become by then.
      let marks = [
        ["1-merge.partial", "1-merge"], ["1-merge.json"], ["2-prune.pieces/00003.safetensors", "2-prune"],
        ["2-prune.partial", "2-prune"], ["2-prune.json"],
      ]
      for (attempt, names) in marks.enumerated() {
        let place: Comment = "seed \(seed), attempt \(attempt), \(names[0])"
        let scene = reference
        let run = try Program(["run", scene.recipe, "-o", scene.output, "--quiet"])
        run.wait { names.contains { FileSystem.kind("\(scene.stages)/\($0)") != nil } }
        run.pause(forMicroseconds: UInt32.random(in: 0...2000, using: &generator))
        run.killAtOnce()
        let wasKilled = try run.wait().code == nil
        #expect(wasKilled && !FileSystem.isFolder(scene.output), place)
        let resumed = try scene.run("--resume", "--quiet")
        #expect(resumed.code == 0, "\(resumed), \(place)")
        #expect(try scene.weights(scene.output) == wanted, place)
        #expect(try FileSystem.list(folder) == ["out", "steps.yml"], place)
        try FileSystem.remove(scene.output)
      }
    }
  }

  @Test func recipesGoToTheirVerbs() throws {
    try withTemporaryFolder { folder in
      let scene = try Scene(in: folder)
      let merge = try Program.run("merge", scene.recipe, "-o", scene.output)
      #expect(merge.code == 2 && merge.errors.contains("`espalier run`"), "\(merge)")
      let run = try Program.run("run", "\(packageFolder)/Examples/average.yml", "-o", scene.output)
      #expect(run.code == 2 && run.errors.contains("`espalier merge`"), "\(run)")
      try write("model: nowhere\nsteps:\n  - prune: {sparsity: 2, texts: t}\n", to: scene.recipe)
      let wrong = try scene.run()
      #expect(wrong.code == 2 && wrong.errors.contains("recipe line 3"), "\(wrong)")
      #expect(wrong.errors.contains("did you mean text?") && wrong.errors.contains("sparsity must be from 0 to 1"))
      #expect(try FileSystem.list(folder) == ["steps.yml"])
    }
  }
}
