import EspalierBasics
import Foundation
import TestSupport
import Testing

/// Full disks and limits on the size of files: a clear message, inputs untouched, and the run can be continued.
@Suite(.serialized) struct DiskTests {
  /// Whether this process may make a file system of its own.
  static let canMount: Bool = {
    #if os(Linux)
      return (try? Program.shell("mount -t tmpfs none /mnt", prefix: ["unshare", "-m"]).code) == 0
    #else
      return false
    #endif
  }()

  /// Something else fills the disk while the run is under way; then there is room again.
  @Test(.enabled(if: canMount, "needs the right to mount a file system"))
  func diskFilledWhileRunning() throws {
    try withTemporaryFolder { folder in
      let scene = try MergeScene(in: folder)
      let inputs = try ["base", "one", "two"].map { try contents(of: "\(folder)/\($0)") }
      let merge = "\"$espalier\" " + scene.arguments(output: "/mnt/merged").joined(separator: " ")
      let outcome = try Program.shell(
        """
        mount -t tmpfs -o size=40m none /mnt
        \(merge) 2> '\(folder)/full' &
        run=$!
        until [ "$(wc -l < /mnt/merged.partial/journal.jsonl 2> /dev/null || echo 0)" -ge 6 ]; do :; done
        kill -STOP $run
        cat /dev/zero > /mnt/filler 2> /dev/null
        kill -CONT $run
        wait $run; echo "full $?"
        [ -e /mnt/merged ]; echo "appeared $?"
        rm /mnt/filler
        \(merge) --resume; echo "resumed $?"
        cp -r /mnt/merged '\(scene.output)'
        """, prefix: ["unshare", "-m"])
      #expect(outcome.output == "full 1\nappeared 1\nresumed 0\n", "\(outcome)")
      let message = String(decoding: try FileSystem.read("\(folder)/full"), as: UTF8.self)
      #expect(message.contains("file.no-space") && message.contains("/mnt/merged.partial/"), "\(message)")
      #expect(message.contains("--resume"), "\(message)")
      #expect(try differences(scene.output, scene.reference) == [])
      #expect(try ["base", "one", "two"].map { try contents(of: "\(folder)/\($0)") } == inputs)
    }
  }

  @Test(.enabled(if: canMount, "needs the right to mount a file system"))
  func tooSmallADiskIsFoundBeforeTheWork() throws {
    try withTemporaryFolder { folder in
      let scene = try MergeScene(in: folder)
      let merge = "\"$espalier\" " + scene.arguments(output: "/mnt/merged").joined(separator: " ")
      let outcome = try Program.shell(
        "mount -t tmpfs -o size=20m none /mnt; \(merge); echo $?; ls /mnt", prefix: ["unshare", "-m"])
      #expect(outcome.output == "1\n", "\(outcome)")
      #expect(outcome.errors.contains("output.space") && outcome.errors.contains("33.6 MB"), "\(outcome)")
    }
  }

  @Test func limitOnTheSizeOfFiles() throws {
    try withTemporaryFolder { folder in
      let scene = try MergeScene(in: folder)
      let merge = "\"$espalier\" " + scene.arguments().joined(separator: " ")
      // Blocks of 512 bytes or of 1,024, as the shell likes: 1 or 2 MB, less than a shard.
      let outcome = try Program.shell("ulimit -f 2048; \(merge)")
      #expect(outcome.code == 1, "\(outcome)")
      #expect(outcome.errors.contains("\(scene.partial)/model-00001-of-"), "\(outcome)")
      #expect(outcome.errors.contains("file.no-space"), "\(outcome)")
      #expect(!FileSystem.isFolder(scene.output))
      #expect(try Program.run(scene.arguments("--resume")).code == 0)
      #expect(try differences(scene.output, scene.reference) == [])
    }
  }

  @Test func anOutputThatCannotBeMade() throws {
    try withTemporaryFolder { folder in
      let scene = try MergeScene(in: folder)
      let outcome = try Program.run(scene.arguments(output: "\(scene.recipe)/merged"))
      #expect(outcome.code == 1, "\(outcome)")
      #expect(outcome.errors.contains("\(scene.recipe)"), "\(outcome)")
    }
  }
}
