import EspalierBasics
import EspalierExecution
import EspalierNumerics
import EspalierRecipes
import TestSupport
import Testing

/// Runs that stop, and runs that go on.
@Suite struct MergeRunTests {
  private let recipe = """
    merge_method: linear
    models: [{model: a}, {model: b}]
    parameters: {weight: 1}
    """

  /// A run that a NaN in the last tensor of `b` stopped.
  private func withStoppedRun(_ body: (inout Workplace) throws -> Void) throws {
    let poisoned = TinyLlama(value: 3, extra: [TestTensor("zzz", [2], [1, .nan])])
    let whole = TinyLlama(value: 1, extra: [TestTensor("zzz", [2], [1, 1])])
    try Workplace.with(["a": whole, "b": poisoned]) { place in
      place.options.threads = 1
      let found = problems { try place.run(recipe) }
      #expect(found.map(\.code.rawValue) == ["values.not-finite"])
      #expect(found.first?.context.tensor == "zzz")
      #expect(found.first?.message == "b holds nan at element 1")
      try body(&place)
    }
  }

  @Test func aStoppedRunLeavesNoOutput() throws {
    try withStoppedRun { place in
      #expect(FileSystem.kind(place.options.output) == nil)
      #expect(
        problems { try place.plan(recipe) }.filter { $0.severity == .error }.map(\.code.rawValue) == ["output.partial"])
    }
  }

  @Test func nonFiniteValuesMayBeAllowed() throws {
    try withStoppedRun { place in
      place.options.allowsNonFinite = true
      place.options.policy = .init(force: true)
      let values = try place.run(recipe).values("zzz")
      #expect(values[0] == 1 && values[1].isNaN)
    }
  }

  /// A resumed run must be the same run: of the same inputs, recipe and seed.
  @Test func resumeRefusesWhatChanged() throws {
    try withStoppedRun { place in
      place.options.policy = .init(resume: true)
      var other = place
      other.options.seed = 7
      #expect(problems { try other.run(recipe) }.first?.message.hasSuffix("changed since: seed") == true)
      #expect(problems { try place.run(recipe + "\n# another text") }.first?.message.hasSuffix(": recipe") == true)
      try TestTensor.write([TestTensor("zzz", [2], [1, 1])], to: place.path("a/model.safetensors"))
      #expect(problems { try place.run(recipe) }.contains { $0.severity == .error })
      #expect(FileSystem.kind(place.options.output) == nil)
    }
  }

  /// What the journal holds is taken over: resumed, the run meets the same problem and writes no tensor again.
  @Test func resumeKeepsWhatIsFinished() throws {
    try withStoppedRun { place in
      let journal = "\(place.options.output).partial/journal.jsonl"
      let before = try FileSystem.read(journal)
      #expect(before.filter { $0 == UInt8(ascii: "\n") }.count == 22)
      place.options.policy = .init(resume: true)
      #expect(problems { try place.run(recipe) }.map(\.code.rawValue) == ["values.not-finite"])
      #expect(try FileSystem.read(journal) == before)
    }
  }

  @Test func aFinishedRunCanBeVerified() throws {
    try Workplace.with(["a": TinyLlama(value: 1), "b": TinyLlama(value: 3)]) { place in
      try place.run(recipe)
      let outcome = try Verification.verify(place.options.output, threads: 1, listener: SilentListener())
      #expect(outcome.problems.isEmpty && outcome.tensors == 21)
    }
  }
}
