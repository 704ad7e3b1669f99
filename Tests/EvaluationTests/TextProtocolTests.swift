import EspalierBasics
import TestSupport
import Testing

@testable import EspalierEvaluation

/// Windows of the tokens 0, 1, 2 ... worked out by hand.
@Suite struct TextProtocolTests {
  private let codec = ByteCodec(beginToken: 99, prefixToken: 98)
  private func sequences(_ cut: TextProtocol.Cut, _ count: Int32, limit: Int? = nil) throws -> [ScoredSequence] {
    try TextProtocol(cut, limit: limit).sequences(of: Array(0..<count), codec: codec)
  }

  @Test func windowsDropTheRestAndTheirFirstTokens() throws {
    #expect(
      try sequences(.windows(length: 4), 11) == [
        ScoredSequence(input: [0, 1, 2, 3], firstRow: 0, targets: [1, 2, 3]),
        ScoredSequence(input: [4, 5, 6, 7], firstRow: 0, targets: [5, 6, 7]),
      ])
    #expect(try sequences(.windows(length: 4), 3).isEmpty)
    #expect(try sequences(.windows(length: 4), 11, limit: 1).count == 1)
    #expect(try sequences(.windows(length: 4), 11, limit: -1).isEmpty)
  }

  @Test func slidingScoresEveryTokenButTheFirstOnce() throws {
    #expect(
      try sequences(.sliding(length: 4, stride: 2), 7) == [
        ScoredSequence(input: [0, 1, 2, 3], firstRow: 0, targets: [1, 2, 3]),
        ScoredSequence(input: [2, 3, 4, 5], firstRow: 1, targets: [4, 5]),
        ScoredSequence(input: [4, 5, 6], firstRow: 1, targets: [6]),
      ])
    #expect(try sequences(.sliding(length: 4, stride: 2), 1).isEmpty)
    for count in [2, 3, 4, 5, 17] as [Int32] {
      for (length, stride) in [(2, 1), (5, 1), (5, 3), (5, 4), (40, 7)] {
        let all = try sequences(.sliding(length: length, stride: stride), count)
        #expect(all.flatMap(\.targets) == Array(1..<count))
        #expect(all.allSatisfy { $0.input.count <= length })
        for sequence in all { #expect(sequence.input[sequence.firstRow] == sequence.targets[0] - 1) }
      }
    }
  }

  @Test func llamaCppPutsTheBeginTokenFirstAndScoresTheLaterHalf() throws {
    // 99 0 1 2 3 4 | 5 6 7 8 9 10 | 11, n_ctx 6: targets at 4 and 5 of each chunk.
    #expect(
      try sequences(.llamaCpp(context: 6), 12) == [
        ScoredSequence(input: [99, 0, 1, 2, 3, 4], firstRow: 3, targets: [3, 4]),
        ScoredSequence(input: [99, 6, 7, 8, 9, 10], firstRow: 3, targets: [9, 10]),
      ])
    // Less than two chunks are refused, with the begin token counted.
    #expect(try sequences(.llamaCpp(context: 6), 10).isEmpty && !sequences(.llamaCpp(context: 6), 11).isEmpty)
    let plain = try TextProtocol(.llamaCpp(context: 6)).sequences(of: Array(0..<12), codec: ByteCodec())
    #expect(plain.last == ScoredSequence(input: [6, 7, 8, 9, 10, 11], firstRow: 3, targets: [10, 11]))
  }

  /// The worked case of the harness's own tests: 34 tokens by tens after one token of context.
  @Test func rollingScoresEveryTokenOnceAndTheLastWindowReachesBack() throws {
    #expect(
      try sequences(.rolling(length: 10), 34) == [
        ScoredSequence(input: [98] + Array(0..<9), firstRow: 0, targets: Array(0..<10)),
        ScoredSequence(input: Array(9..<19), firstRow: 0, targets: Array(10..<20)),
        ScoredSequence(input: Array(19..<29), firstRow: 0, targets: Array(20..<30)),
        ScoredSequence(input: Array(23..<33), firstRow: 6, targets: Array(30..<34)),
      ])
    #expect(
      try sequences(.rolling(length: 10), 3) == [ScoredSequence(input: [98, 0, 1], firstRow: 0, targets: [0, 1, 2])])
    #expect(throws: Problem.self) { try TextProtocol(.rolling(length: 4)).sequences(of: [1, 2], codec: ByteCodec()) }
  }

  @Test func meaninglessLengthsAreRefused() {
    let cuts: [TextProtocol.Cut] = [
      .windows(length: 1), .windows(length: 0), .sliding(length: 4, stride: 0), .sliding(length: 4, stride: 4),
      .llamaCpp(context: 3), .rolling(length: 0), .windows(length: -5), .llamaCpp(context: .max),
      .sliding(length: .max, stride: .max - 1), .rolling(length: .max), .windows(length: .max),
      .windows(length: .min), .sliding(length: .min, stride: .min), .llamaCpp(context: .min), .rolling(length: .min),
    ]
    for cut in cuts {
      #expect(problem { _ = try sequences(cut, 20) }?.code == .usageProtocol, "\(cut)")
    }
  }

  @Test func protocolsSayWhatTheyAre() {
    #expect(
      TextProtocol(.windows(length: 256)).text
        == "windows of 256 tokens without overlap, each from position 0, tokens 2 to 256 scored, the rest dropped, "
        + "nothing added")
    #expect(
      TextProtocol(.llamaCpp(context: 512), limit: 3).text
        == "llama.cpp's: chunks of 512 tokens without overlap, the first replaced by the begin token if there is one, "
        + "the last 255 scored; the first 3 of each document")
  }
}
