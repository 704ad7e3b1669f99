import EspalierBasics
import Foundation
import TestSupport
import Testing

/// What an interrupted run may be continued with, and what not.
@Suite(.serialized) struct ResumeTests {
  /// Runs `body` with a scene whose run was killed after a few tensors.
  private func withInterruptedRun(_ body: (MergeScene) throws -> Void) throws {
    try withTemporaryFolder { folder in
      let scene = try MergeScene(in: folder)
      try scene.interrupt(after: 8)
      try #require((8...MergeScene.tensorCount).contains(scene.journalLines))
      try body(scene)
    }
  }

  /// The run is refused for `reason`, naming --force, and nothing is changed.
  private func expectRefusal(_ scene: MergeScene, _ reason: String, _ options: [String] = []) throws {
    let before = try contents(of: scene.partial)
    let outcome = try Program.run(scene.arguments("--resume") + options)
    #expect(outcome.code == 1, "\(outcome)")
    #expect(outcome.errors.contains(reason) && outcome.errors.contains("--force"), "\(outcome)")
    #expect(try contents(of: scene.partial) == before)
    #expect(!FileSystem.isFolder(scene.output))
  }

  private func expectCompletion(_ scene: MergeScene, _ options: [String] = []) throws {
    let outcome = try Program.run(scene.arguments("--resume") + options)
    #expect(outcome.code == 0, "\(outcome)")
    #expect(try differences(scene.output, scene.reference) == [])
  }

  @Test func anotherRunIsRefused() throws {
    try withInterruptedRun { scene in
      try expectRefusal(scene, "seed", ["--seed", "7"])
      try expectRefusal(scene, "layout", ["--shard-size", "20MB"])
      try expectRefusal(scene, "non-finite", ["--allow-nonfinite"])
      try write(MergeScene.text + "\n", to: scene.recipe)
      try expectRefusal(scene, "recipe")
      // With everything as it was, it goes on.
      try write(MergeScene.text, to: scene.recipe)
      try expectCompletion(scene)
    }
  }

  /// One byte, the length and the time of modification as before: the time of the change of status tells.
  @Test func aChangedInputIsRefused() throws {
    try withInterruptedRun { scene in
      let input = "\(scene.folder)/one/model.safetensors"
      let modified = try #require(
        try FileManager.default.attributesOfItem(atPath: input)[.modificationDate] as? Date)
      try flip(input, at: 1_000_000, mask: 0x10)
      try FileManager.default.setAttributes([.modificationDate: modified], ofItemAtPath: input)
      try expectRefusal(scene, input)
    }
  }

  @Test func anEditedJournalIsRefused() throws {
    try withInterruptedRun { scene in
      let text = String(decoding: try FileSystem.read(scene.journal), as: UTF8.self)
      let lines = text.split(separator: "\n").map(String.init)
      var changed = lines
      changed[1] = lines[1].replacing("digest\":\"", with: "digest\":\"f", maxReplacements: 1)
      var exchanged = lines
      exchanged.swapAt(1, 2)
      var shortened = lines
      shortened.remove(at: 2)
      let edits = [
        ("a line less", shortened), ("lines exchanged", exchanged), ("a digest changed", changed),
        ("no beginning", Array(lines.dropFirst())),
      ]
      for (edit, lines) in edits {
        try write(lines.joined(separator: "\n") + "\n", to: scene.journal)
        let before = try contents(of: scene.partial)
        let outcome = try Program.run(scene.arguments("--resume"))
        #expect(outcome.code == 1 && outcome.errors.contains("journal.damaged"), "\(edit): \(outcome)")
        #expect(try contents(of: scene.partial) == before, "\(edit)")
      }
      // A last line that was being written when the machine stopped is no edit.
      try write(text + lines[1].prefix(40), to: scene.journal)
      try expectCompletion(scene)
    }
  }

  @Test func damagedDataIsMadeAgain() throws {
    let damages: [(String, (MergeScene) throws -> Void)] = [
      (
        "a byte of every file",
        { scene in
          for name in try FileSystem.list(scene.partial) where name.hasSuffix(".safetensors") {
            try flip("\(scene.partial)/\(name)", at: 100_000, mask: 0x10)
          }
        }
      ),
      (
        "a file cut short",
        { scene in
          let name = try #require(try FileSystem.list(scene.partial).first { $0.hasSuffix(".safetensors") })
          try File.writing("\(scene.partial)/\(name)").resize(to: 1_000)
        }
      ),
      (
        "a file gone",
        { scene in
          let name = try #require(try FileSystem.list(scene.partial).first { $0.hasSuffix(".safetensors") })
          try FileSystem.remove("\(scene.partial)/\(name)")
        }
      ),
      ("an empty journal", { scene in try write("", to: scene.journal) }),
      ("the first line unfinished", { scene in try write("{\"entry\":{", to: scene.journal) }),
    ]
    for (damage, inflict) in damages {
      try withInterruptedRun { scene in
        try inflict(scene)
        let outcome = try Program.run(scene.arguments("--resume"))
        #expect(outcome.code == 0, "\(damage): \(outcome)")
        #expect(try differences(scene.output, scene.reference) == [], "\(damage)")
      }
    }
  }

  /// Without its journal a partial folder could be anybody's: it is neither continued nor removed.
  @Test func aPartialFolderWithoutItsJournalIsLeftAlone() throws {
    try withInterruptedRun { scene in
      try FileSystem.remove(scene.journal)
      let before = try FileSystem.list(scene.partial)
      let outcome = try Program.run(scene.arguments("--resume"))
      #expect(outcome.code == 1 && outcome.errors.contains("output.partial"), "\(outcome)")
      #expect(try FileSystem.list(scene.partial) == before)
    }
  }

  /// What was finished is not made again, and other threads and another ceiling change nothing.
  @Test func finishedTensorsAreKept() throws {
    try withInterruptedRun { scene in
      let finished = scene.journalLines - 1
      let arguments = ["merge", scene.recipe, "-o", scene.output, "--threads", "2", "--memory", "300M"]
      let outcome = try Program.run(arguments + ["--shard-size", "6MB", "--resume", "--json"])
      #expect(outcome.code == 0, "\(outcome)")
      #expect(try outcome.events.last?["kept"]?.integer == finished)
      #expect(try differences(scene.output, scene.reference) == [])
    }
  }

  @Test func resumeWithoutAPartialOutputJustStarts() throws {
    try withTemporaryFolder { folder in try expectCompletion(try MergeScene(in: folder)) }
  }
}
