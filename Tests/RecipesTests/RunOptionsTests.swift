import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierLinearMaps
import EspalierNetworks
import EspalierRecipes
import TestSupport
import Testing

/// How a network is made under a ceiling on memory.
@Suite struct RunOptionsTests {
  /// A model that leaves 32 bytes of keys and values a token, under a ceiling of 100 MiB.
  private func withModel(_ body: (any Checkpoint, RunOptions) throws -> Void) throws {
    try Workplace.with(["a": TinyLlama(value: 1)]) { place in
      let checkpoint = try SafetensorsCheckpoint(at: place.path("a"))
      // Whatever reads weights from here on fails.
      _ = try File.writing(place.path("a/model.safetensors"), truncate: true)
      try body(
        checkpoint,
        RunOptions(
          mode: .exact, pool: WorkerPool(threads: 1), memory: 100 << 20, families: Architecture.builtIn()))
    }
  }

  @Test func weightsStayInMemoryWhereAPromptLeavesThemRoom() throws {
    try withModel { checkpoint, options in
      let network = try options.network(of: checkpoint)
      #expect(network.stateBytesPerToken == 32 && network.residency == .resident)
      #expect(try options.network(of: checkpoint, keeping: 1000).residency == .resident)
      #expect(try options.network(of: checkpoint, keeping: 1 << 20).residency == .streamed)
    }
  }

  @Test(arguments: [1 << 21, Int.max])
  func aPromptThatDoesNotFitIsRefused(tokens: Int) throws {
    try withModel { checkpoint, options in
      let found = problems { try options.network(of: checkpoint, keeping: tokens) }
      #expect(found.map(\.code) == [.memoryCeiling] && found.first?.context.file == checkpoint.location)
      #expect(found.first?.message.contains("of it for the prompt and its answer of \(tokens) tokens") == true)
      #expect(found.first?.remedy == "Raise --memory, or shorten the prompt or what may follow it.")
      let network = try options.network(of: checkpoint)
      #expect(problems { try options.check(network, keeping: tokens) }.map(\.code) == [.memoryCeiling])
      #expect(problems { try options.check(network, keeping: 1 << 20) }.isEmpty)
    }
  }

  @Test func aPromptAndWhatMayFollowItAreCounted() {
    #expect(Generator(maxTokens: 5).tokens(afterPrompt: 3) == 8)
    #expect(Generator(maxTokens: .max).tokens(afterPrompt: 3) == .max)
  }
}
