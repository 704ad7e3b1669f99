import EspalierBasics
import TestSupport
import Testing

/// A run that is killed leaves nothing under the final name, and `--resume` makes of it what an undisturbed run makes.
@Suite(.serialized) struct CrashTests {
  @Test func killedAnywhereAndResumed() throws {
    let seed = UInt64.random(in: 0 ..< .max)
    var generator = SeededGenerator(seed: seed)
    try withTemporaryFolder { folder in
      let scene = try MergeScene(in: folder)
      let wanted = try #require(try contents(of: scene.reference))
      var inTheMiddle = 0
      var inAll = 0
      for attempt in 0..<20 {
        let place: Comment = "seed \(seed), attempt \(attempt)"
        // From no journal at all to the last matrix (vectors come after, in no time), and now and then at the very end.
        let anywhere = Int.random(in: 0...MergeScene.matrixCount, using: &generator)
        let lines = attempt % 5 == 4 ? MergeScene.tensorCount + 1 : anywhere
        let kills = attempt % 4 == 3 ? 2 : 1
        for kill in 0..<kills {
          let run = try Program(scene.arguments() + (kill == 0 ? [] : ["--resume"]))
          run.wait { scene.journalLines >= lines }
          run.pause(forMicroseconds: UInt32.random(in: 0...3000, using: &generator))
          run.killAtOnce()
          let wasKilled = try run.wait().code == nil
          inAll += wasKilled ? 1 : 0
          inTheMiddle += wasKilled && (2...MergeScene.tensorCount).contains(scene.journalLines) ? 1 : 0
          if let found = try contents(of: scene.output) { #expect(found == wanted, place) }
          if FileSystem.isFolder(scene.output) { break }
        }

        if !FileSystem.isFolder(scene.output) {
          let before = try contents(of: scene.partial)
          if before != nil {
            let refused = try Program.run(scene.arguments())
            #expect(refused.code == 1 && refused.errors.contains("--resume"), place)
            #expect(try contents(of: scene.partial) == before, place)
          }
          let resumed = try Program.run(scene.arguments("--resume"))
          #expect(resumed.code == 0, "\(resumed), seed \(seed), attempt \(attempt)")
        }
        #expect(try differences(scene.output, scene.reference) == [], place)
        #expect(!FileSystem.isFolder(scene.partial), place)
        try FileSystem.remove(scene.output)
      }
      print("killed \(inAll) times, \(inTheMiddle) times between two tensors (seed \(seed))")
      #expect(inTheMiddle >= 12, "seed \(seed)")
    }
  }

  @Test func forceKeepsTheOldOutputUntilTheEnd() throws {
    try withTemporaryFolder { folder in
      let scene = try MergeScene(in: folder)
      try FileSystem.rename(scene.reference, to: scene.output)
      let old = try contents(of: scene.output)

      for lines in [1, 5, 20] {
        try scene.interrupt(after: lines, "--force", "--seed", "1")
        #expect(scene.journalLines >= lines)
        #expect(try contents(of: scene.output) == old)
      }
      let refused = try Program.run(scene.arguments("--seed", "1", "--resume"))
      #expect(refused.code == 1 && refused.errors.contains("--force"))
      #expect(try contents(of: scene.output) == old)

      // Continued over the old output, then once more from the beginning.
      let resumed = try Program.run(scene.arguments("--seed", "1", "--resume", "--force"))
      #expect(resumed.code == 0, "\(resumed)")
      let new = try contents(of: scene.output)
      #expect(new != old && new != nil)
      #expect(try Program.run(scene.arguments("--seed", "1", "--force")).code == 0)
      #expect(try contents(of: scene.output) == new)
      #expect(!FileSystem.isFolder(scene.partial))
    }
  }

  @Test func onlyOneRunWritesAnOutput() throws {
    try withTemporaryFolder { folder in
      let scene = try MergeScene(in: folder)
      let first = try Program(scene.arguments())
      first.wait { scene.journalLines >= 3 }
      first.pause()
      let before = try contents(of: scene.partial)
      for (options, reason) in [([], "unfinished"), (["--resume"], "another run"), (["--force"], "another run")] {
        let second = try Program.run(scene.arguments() + options)
        #expect(second.code == 1 && second.errors.contains(reason), "\(second)")
        #expect(try contents(of: scene.partial) == before, "\(options)")
      }
      first.proceed()
      #expect(try first.wait().code == 0)
      #expect(try differences(scene.output, scene.reference) == [])
    }
  }
}
