import EspalierBasics
import EspalierNumerics
import NetworkTestSupport
import Testing

@testable import EspalierNetworks

/// Warpers on hand-made logits, and drawing.
@Suite struct SamplingTests {
  /// Probabilities 0.5, 0.25, 0.15, 0.1 for tokens 2, 0, 3, 1.
  private let logits: [Float] = [0.25, 0.1, 0.5, 0.15].map { Float(Elementary.log($0)) }

  private func kept(_ warper: any LogitWarper, context: [Int32] = []) -> [Int32] {
    var candidates = TokenCandidates(logits: logits)
    warper.warp(&candidates, context: context)
    return candidates.all.map(\.token)
  }

  @Test func cutsKeepWhatTheyShould() {
    #expect(kept(TopK(2)) == [2, 0])
    #expect(kept(TopK(9)) == [2, 0, 3, 1])
    #expect(kept(TopP(0.49)) == [2])
    #expect(kept(TopP(0.51)) == [2, 0])
    #expect(kept(TopP(0.95)) == [2, 0, 3, 1])
    #expect(kept(MinP(0.49)) == [2, 0])
    #expect(kept(MinP(0.21)) == [2, 0, 3])
    #expect(kept(MinP(1)) == [2])
  }

  @Test func theLargestOfMany() {
    var values = [Float](repeating: 0, count: 5000)
    KeyedRandom(seed: 3, name: "logits").normals(startingAt: 0, into: &values, count: values.count)
    values[17] = values[4000]
    values[99] = .nan
    for count in [1, 2, 40, 600, 5000] {
      var (some, all) = (TokenCandidates(logits: values), TokenCandidates(logits: values))
      some.keepLargest(count)
      all.sort()
      #expect(some.all == Array(all.all[..<count]))
      #expect(all.best == all.all[0].token)
    }
  }

  @Test func temperatureAndPenaltyChangeLogits() {
    var candidates = TokenCandidates(logits: [2, -2, 4])
    Temperature(2).warp(&candidates, context: [])
    #expect(candidates.all.map(\.logit) == [1, -1, 2])
    RepetitionPenalty(2).warp(&candidates, context: [1, 2, 2])
    #expect(candidates.all.map(\.logit) == [1, -2, 1])
  }

  @Test func theSmallestTemperatureLeavesTheMostProbable() {
    var candidates = TokenCandidates(logits: [15, 14.5, -3])
    Temperature(1e-38).warp(&candidates, context: [])
    #expect(candidates.probabilities == [1, 0, 0])
  }

  @Test func logitsThatAreNoNumbersAreRefused() throws {
    try checkLogits([1, -.infinity])
    for damaged in [[1, .nan], [.infinity, 0], [-.infinity, -.infinity]] as [[Float]] {
      let problem = #expect(throws: Problem.self) { try checkLogits(damaged) }
      #expect(problem?.code == .networkNotFinite)
    }
  }

  @Test func theMostProbableIsTheFirstOfEqualOnes() {
    let sampler = Sampler.greedy()
    #expect(sampler.next([1, 3, 3, 2], context: []) == 1)
    #expect(sampler.next([.nan, -.infinity, -5], context: []) == 2)
    #expect(Sampler.random(temperature: 0).seed == nil)
  }

  @Test func drawsFollowTheProbabilitiesAndTheSeed() {
    let sampler = Sampler.random(seed: 7)
    var counts = [Int](repeating: 0, count: 4)
    for length in 0..<2000 { counts[Int(sampler.next(logits, context: Array(repeating: 0, count: length)))] += 1 }
    // Four standard deviations.
    for (count, probability) in zip(counts, [0.25, 0.1, 0.5, 0.15]) {
      #expect(abs(Double(count) / 2000 - probability) < 4 * (probability * (1 - probability) / 2000).squareRoot())
    }
    #expect(sampler.next(logits, context: [1, 2]) == sampler.next(logits, context: [5, 6]))
    let other = Sampler.random(seed: 8)
    let contexts = (0..<50).map { Array(repeating: Int32(0), count: $0) }
    #expect(contexts.contains { sampler.next(logits, context: $0) != other.next(logits, context: $0) })
  }

  @Test func generationStops() throws {
    let model = try CausalLanguageModel(try Golden("llama_gqa_untied").network())
    let prompt: [Int32] = [1, 5, 9]
    let (all, ending) = try Generator(maxTokens: 6).continuation(of: prompt, in: Session(model))
    #expect(all.count == 6 && ending == .length)
    let byToken = Generator(maxTokens: 6, endTokens: [all[3]])
    let first = try #require(all.firstIndex(of: all[3]))
    let ended = try byToken.continuation(of: prompt, in: Session(model))
    #expect(ended.tokens == Array(all[..<first]) && ended.ending == .endToken)

    // A text in which a token is `<number>`, and a stop string across two tokens.
    func text(_ tokens: [Int32]) throws(Problem) -> String { tokens.map { "<\($0)>" }.joined() }
    let stop = ">\("<")\(all[1])>"
    let byString = Generator(maxTokens: 6, stopStrings: ["nothing", stop])
    let stopped = try byString.continuation(of: prompt, in: Session(model), decode: text)
    #expect(stopped.tokens == Array(all[...1]) && stopped.ending == .stopString)

    var received: [Int32] = []
    func receive(_ token: Int32) throws(Problem) -> Bool {
      received.append(token)
      return received.count < 3
    }
    let few = try Generator(maxTokens: 6).continuation(of: prompt, in: Session(model), receive: receive)
    #expect(received == Array(all[..<3]) && few.tokens == received)
  }
}
