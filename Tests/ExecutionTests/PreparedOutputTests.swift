import EspalierBasics
import EspalierNumerics
import TestSupport
import Testing

@testable import EspalierExecution

/// Outputs without a layout: prepared beside their place, and there whole or not at all.
@Suite struct PreparedOutputTests {
  private func prepare(
    _ path: String, _ fingerprint: JSON = ["run": 1], resume: Bool = false, force: Bool = false,
    isOurs: @escaping (String) -> Bool = { FileSystem.isFile($0) }
  ) throws -> PreparedOutput {
    try PreparedOutput(
      at: path, fingerprint: fingerprint, policy: .init(resume: resume, force: force), isOurs: isOurs)
  }

  @Test func aFileAppearsWhole() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/deep/out"
      let output = try prepare(path)
      try FileSystem.write([1], to: "\(output.folder)/whole")
      try FileSystem.write([2], to: "\(output.folder)/rest")
      #expect(FileSystem.kind(path) == nil)
      try output.commit(file: "whole")
      #expect(try FileSystem.read(path) == [1])
      #expect(try FileSystem.list("\(folder)/deep") == ["out"])
    }
  }

  @Test func aFolderAppearsWholeInTheOldOnesPlace() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/out"
      try FileSystem.createFolder(path)
      try FileSystem.write([0], to: "\(path)/old")
      let output = try prepare(path, force: true) { FileSystem.isFile("\($0)/old") }
      try FileSystem.write([1], to: "\(output.folder)/new")
      #expect(try FileSystem.list(path) == ["old"])
      try output.commit()
      #expect(try FileSystem.list(path) == ["new"])
      #expect(try FileSystem.list(folder) == ["out"])
    }
  }

  @Test func notesAreFoundAgain() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/out"
      do {
        let output = try prepare(path)
        #expect(problem { try prepare(path, resume: true) }?.code == .fileLocked)
        for figures in [1, 2] as [JSON] {
          try output.note(TensorRecord(tensor: "a", digest: Digest(of: "a"), inputs: [], figures: figures))
        }
      }
      #expect(problem { try prepare(path) }?.code == .outputPartial)
      let other = problem { try prepare(path, ["run": 2], resume: true) }
      #expect(other?.code == .journalMismatch && other?.message.hasSuffix("changed since: run") == true)
      do {
        let output = try prepare(path, resume: true)
        #expect(output.finished[ExactString("a")]?.figures == 2)
      }
      let output = try prepare(path, ["run": 2], force: true)
      #expect(output.finished.isEmpty)
      try output.discard()
      #expect(try FileSystem.list(folder) == [])
    }
  }

  /// What this program did not make stays, also with `force`.
  @Test func strangersStay() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/out"
      try FileSystem.createFolder("\(path).partial")
      try FileSystem.write([1], to: "\(path).partial/mine")
      for (resume, force) in [(false, false), (true, false), (false, true), (true, true)] {
        #expect(problem { try prepare(path, resume: resume, force: force) }?.code == .outputPartial)
      }
      #expect(try FileSystem.list("\(path).partial") == ["mine"])
      try FileSystem.remove("\(path).partial")
      try FileSystem.write([1], to: "\(path).partial")
      #expect(problem { try prepare(path, force: true) }?.code == .outputPartial)
      #expect(try FileSystem.read("\(path).partial") == [1])
      try FileSystem.remove("\(path).partial")
      try FileSystem.write([1], to: path)
      #expect(problem { try prepare(path) }?.code == .outputExists)
      let found = problem { try prepare(path, force: true) { _ in false } }
      #expect(found?.message == "there is something that was not written by espalier; --force does not replace it")
      #expect(try FileSystem.list(folder) == ["out"])
    }
  }

  /// Verbs that cannot continue do not offer it.
  @Test func remediesNameWhatThereIs() throws {
    try withTemporaryFolder { folder in
      _ = try prepare("\(folder)/out")
      var policy = OutputFolder.Policy()
      policy.canResume = false
      let found = OutputFolder.obstacles(at: "\(folder)/out", policy: policy, bytes: 0)
      #expect(found.map(\.remedy) == ["Start over with --force."])
    }
  }

  @Test func aFullDiskIsForeseen() throws {
    try withTemporaryFolder { folder in
      let found = OutputFolder.obstacles(at: "\(folder)/out", policy: .init(), bytes: 1 << 60)
      #expect(found.map(\.code) == [.outputSpace])
    }
  }
}
