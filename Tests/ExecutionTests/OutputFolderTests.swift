import EspalierBasics
import TestSupport
import Testing

@testable import EspalierExecution

@Suite struct OutputFolderTests {
  private func contents(_ path: String) throws -> [[UInt8]] {
    try Sample.layout.tensors.map { tensor in
      let file = try FileSystem.read("\(path)/\(Sample.layout.files[tensor.file].name)")
      return Array(file[tensor.offset..<tensor.offset + tensor.byteCount])
    }
  }

  @Test func appearsWhole() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/deep/er/out"
      let output = try Sample.open(path)
      #expect(try Sample.run(Sample.jobs(), into: output) == 0)
      #expect(FileSystem.kind(path) == nil)
      try Sample.commit(output)
      #expect(try contents(path) == Sample.contents)
      #expect(FileSystem.kind(path + ".partial") == nil)
      #expect(!FileSystem.isFile("\(path)/\(Journal.fileName)"))
    }
  }

  @Test func anOutputIsReplacedOnlyByForce() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/out"
      try FileSystem.createFolder(path)
      try FileSystem.write([1], to: "\(path)/old")
      #expect(problem { try Sample.open(path) }?.code == .outputExists)
      #expect(problem { try Sample.open(path, resume: true) }?.code == .outputExists)
      #expect(OutputFolder.obstacles(at: path, policy: .init(), bytes: 1).map(\.code) == [.outputExists])
      // Not everything that bears the name: only an output of ours.
      #expect(OutputFolder.obstacles(at: path, policy: .init(force: true), bytes: 1).map(\.code) == [.outputExists])
      try FileSystem.write([1], to: "\(path)/\(Manifest.fileName)")
      #expect(OutputFolder.obstacles(at: path, policy: .init(force: true), bytes: 1).isEmpty)

      // The old one stays until the new one is complete, and then goes whole.
      let output = try Sample.open(path, force: true)
      _ = try Sample.run(Sample.jobs(), into: output)
      #expect(try FileSystem.list(path) == [Manifest.fileName, "old"])
      try Sample.commit(output)
      #expect(try contents(path) == Sample.contents)
      #expect(!FileSystem.isFile("\(path)/old"))
      #expect(FileSystem.kind(path + ".partial") == nil)
    }
  }

  @Test func aPartialOutputIsAnErrorUnlessResumedOrForced() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/out"
      let failed = problem { try Sample.run(Sample.jobs(failingAt: 1), into: try Sample.open(path)) }
      #expect(failed?.message == "stopped")
      #expect(FileSystem.kind(path) == nil)
      #expect(problem { try Sample.open(path) }?.code == .outputPartial)
      #expect(OutputFolder.obstacles(at: path, policy: .init(), bytes: 1).map(\.code) == [.outputPartial])
      #expect(OutputFolder.obstacles(at: path, policy: .init(resume: true), bytes: 1).isEmpty)
      let kept = try Sample.run(Sample.jobs(), into: Sample.open(path, force: true))
      #expect(kept == 0)
    }
  }

  /// A folder that only bears the name of a partial output is not removed, whatever is asked for.
  @Test(arguments: [(true, false), (false, true), (true, true), (false, false)])
  func aFolderOfTheUserIsNotRemoved(_ resume: Bool, _ force: Bool) throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/out"
      try FileSystem.createFolder(path + ".partial")
      try FileSystem.write([1], to: path + ".partial/mine")
      let found = problem { try Sample.open(path, resume: resume, force: force) }
      #expect(found?.code == .outputPartial && found?.remedy?.contains("--force") == false)
      let policy = OutputFolder.Policy(resume: resume, force: force)
      #expect(OutputFolder.obstacles(at: path, policy: policy, bytes: 1).map(\.code) == [.outputPartial])
      #expect(try FileSystem.list(path + ".partial") == ["mine"])
    }
  }

  /// Where names cannot be exchanged, the old output steps aside.
  @Test func replacingWithoutExchange() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/out"
      try Sample.make(at: path)
      try FileSystem.createFolder("\(folder)/new")
      try FileSystem.write([7], to: "\(folder)/new/seven")
      let new = "\(folder)/new"
      let refuse = { (_: String, _: String) throws(Problem) in throw Problem(.fileWrite, "not supported") }
      try FileSystem.createFolder("\(path).replaced")
      #expect(problem { try OutputFolder.replace(path, with: new, exchange: refuse) }?.code == .outputExists)
      #expect(try contents(path) == Sample.contents)
      try FileSystem.remove("\(path).replaced")
      // What cannot be renamed leaves the old output where it was.
      #expect(problem { try OutputFolder.replace(path, with: new + "er", exchange: refuse) }?.code == .fileMissing)
      #expect(try contents(path) == Sample.contents)
      try OutputFolder.replace(path, with: new, exchange: refuse)
      #expect(try FileSystem.list(folder) == ["out"])
      #expect(try FileSystem.list(path) == ["seven"])
    }
  }

  /// A finished output that kept its journal tells what run it is of.
  @Test func finishedOutputs() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/out"
      #expect(try !OutputFolder.isFinished(at: path, fingerprint: Sample.fingerprint))
      try Sample.make(at: path, keepingJournal: true)
      #expect(try OutputFolder.isFinished(at: path, fingerprint: Sample.fingerprint))
      #expect(problem { try OutputFolder.isFinished(at: path, fingerprint: ["recipe": "s"]) }?.code == .journalMismatch)
      try FileSystem.remove("\(path)/\(Journal.fileName)")
      let found = problem { try OutputFolder.isFinished(at: path, fingerprint: Sample.fingerprint) }
      #expect(found?.code == .journalMismatch)
    }
  }

  /// Tensors that the journal holds are hashed again; what is damaged since, or was never finished, is redone.
  @Test func resumeRedoesWhatIsNotProven() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/out"
      _ = problem { try Sample.run(Sample.jobs(failingAt: 2), into: try Sample.open(path)) }
      let damaged = Sample.layout.tensors[1]
      try flip("\(path).partial/\(Sample.layout.files[damaged.file].name)", at: damaged.offset + 9)
      let output = try Sample.open(path, resume: true)
      #expect(try output.verifiedRecord(of: 0)?.tensor == "a")
      #expect(try output.verifiedRecord(of: 1) == nil)
      #expect(try output.verifiedRecord(of: 2) == nil)
      #expect(try Sample.run(Sample.jobs(), into: output) == 1)
      try Sample.commit(output)
      #expect(try contents(path) == Sample.contents)
      #expect(try Verification.verify(path, threads: 1, listener: SilentListener()).problems.isEmpty)
    }
  }

  @Test func resumeStartsWhereThereIsNothing() throws {
    try withTemporaryFolder { folder in
      let output = try Sample.open("\(folder)/out", resume: true)
      #expect(try Sample.run(Sample.jobs(), into: output) == 0)
    }
  }

  @Test func resumeRefusesAnotherRun() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/out"
      _ = problem { try Sample.run(Sample.jobs(failingAt: 1), into: try Sample.open(path)) }
      let other: JSON = ["recipe": "r", "seed": 2, "input x": "new"]
      let refused = problem { try Sample.open(path, resume: true, fingerprint: other) }
      #expect(refused?.code == .journalMismatch)
      #expect(refused?.message.hasSuffix("changed since: seed, input x") == true)
    }
  }

  @Test func twoRunsCannotShareOne() throws {
    try withTemporaryFolder { folder in
      let path = "\(folder)/out"
      let first = try Sample.open(path)
      #expect(problem { try Sample.open(path, resume: true) }?.code == .fileLocked)
      _ = try Sample.run(Sample.jobs(), into: first)
    }
  }

  @Test func spaceIsCheckedBefore() throws {
    try withTemporaryFolder { folder in
      let obstacles = OutputFolder.obstacles(at: "\(folder)/out", policy: .init(), bytes: 1 << 60)
      #expect(obstacles.map(\.code) == [.outputSpace])
    }
  }

  @Test func severalOutputsNeedRoomTogether() throws {
    try withTemporaryFolder { folder in
      let most = try #require(FileSystem.freeBytes(at: folder)) / 4 * 3
      let outputs = ["\(folder)/a", "\(folder)/b"].map { (path: $0, bytes: most) }
      #expect(OutputFolder.lackOfSpace(for: [outputs[0]]) == nil)
      let lack = OutputFolder.lackOfSpace(for: outputs)
      #expect(lack?.code == .outputSpace && lack?.message.hasPrefix("the 2 outputs take up to") == true)
      // One that was begun has its room.
      try FileSystem.createFolder("\(folder)/b.partial")
      #expect(OutputFolder.lackOfSpace(for: outputs) == nil)
    }
  }

  @Test func aJobThatWritesNothingIsAnError() throws {
    struct Idle: TensorJob {
      var outputIndex = 0
      var movedBytes = 0
      var residentBytes = 0
      var threadBytes = 0
      func run(_ context: JobContext) throws(Problem) {}
    }
    try withTemporaryFolder { folder in
      let runner = JobRunner(threads: 2, memory: 1 << 30, allowsNonFinite: false, listener: SilentListener())
      let plan = try runner.plan([Idle()], layout: Sample.layout, headerBytes: 0)
      let found = problem { try runner.run([Idle()], into: try Sample.open("\(folder)/out"), plan: plan) }
      #expect(found?.context.tensor == "a")
    }
  }
}

@Suite struct MemoryPlanTests {
  private func plan(_ sizes: [(resident: Int, thread: Int)], threads: Int, memory: Int) throws -> JobRunner.MemoryPlan {
    let jobs = sizes.enumerated().map {
      WriteJob(
        outputIndex: $0.offset, bytes: [], residentBytes: $0.element.resident << 20,
        threadBytes: $0.element.thread << 20)
    }
    let runner = JobRunner(
      threads: threads, memory: JobRunner.baseBytes + memory << 20, allowsNonFinite: false, listener: SilentListener())
    return try runner.plan(jobs, layout: Sample.layout, headerBytes: 0)
  }

  @Test func threadsGiveWay() throws {
    #expect(try plan([(10, 5), (4, 5)], threads: 8, memory: 100).threads == 8)
    // 10 for the largest job leaves 22 for threads of 5.
    #expect(try plan([(10, 5), (4, 5)], threads: 8, memory: 32).threads == 4)
    #expect(try plan([(10, 5), (4, 5)], threads: 8, memory: 15).threads == 1)
  }

  @Test func theTensorThatDoesNotFitIsNamed() throws {
    let found = problem { try plan([(1, 5), (10, 5)], threads: 8, memory: 14) }
    #expect(found?.code == .memoryCeiling)
    #expect(found?.context.tensor == "b")
    #expect(found?.remedy?.contains("--memory \((JobRunner.baseBytes >> 20) + 16)M") == true)
  }

  /// One job needs much for itself, another much for each thread: whatever a plan accepts can run.
  @Test func acceptedPlansRun() throws {
    for memory in [101, 150, 200, 201, 202, 300] {
      let plan = try plan([(100, 1), (1, 100)], threads: 4, memory: memory)
      #expect(plan.jobCapacity >= 100 << 20, "\(memory) MiB")
      #expect(plan.predictedPeak <= JobRunner.baseBytes + memory << 20)
    }
    #expect(try plan([(100, 1), (1, 100)], threads: 4, memory: 299).threads == 1)
    #expect(try plan([(100, 1), (1, 100)], threads: 4, memory: 300).threads == 2)
  }
}
