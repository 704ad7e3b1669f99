import ArgumentParser
import EspalierNetworks

/// How the next token is chosen.
struct SamplingOptions: ParsableArguments {
  @Option(help: "0 takes the most probable token; higher draws more freely.")
  var temperature: Float?

  @Option(help: "Draw among the N most probable tokens only.")
  var topK: Int?

  @Option(help: "Draw among the most probable tokens that together have this probability.")
  var topP: Double?

  @Option(help: "Draw among tokens at least this fraction as probable as the most probable one.")
  var minP: Double?

  @Option(help: "Above 1, tokens that are there already become less probable.")
  var repetitionPenalty: Float = 1

  @Option(help: "Seed of chance: the same seed, prompt and model give the same text.")
  var seed: UInt64 = 0

  @Option(help: "The most tokens to produce.")
  var maxTokens = 256

  @Option(help: "Text that ends the answer (repeatable).")
  var stop: [String] = []

  func validate() throws {
    if let temperature, !(temperature >= 0 && temperature.isFinite) {
      throw ValidationError("--temperature must be 0 or more. It must be finite, too.")
    }
    if let topK, topK < 1 { throw ValidationError("--top-k must be at least 1.") }
    if let topP, !(topP > 0 && topP <= 1) { throw ValidationError("--top-p must be above 0 and at most 1.") }
    if let minP, !(minP >= 0 && minP <= 1) { throw ValidationError("--min-p must be from 0 to 1.") }
    if !(repetitionPenalty > 0 && repetitionPenalty.isFinite) {
      throw ValidationError("--repetition-penalty must be above 0.")
    }
    if stop.contains(where: \.isEmpty) { throw ValidationError("--stop needs a text.") }
    if maxTokens < 1 { throw ValidationError("--max-tokens must be at least 1.") }
  }

  func generator(defaultTemperature: Float, endTokens: Set<Int32>) -> Generator {
    Generator(
      sampler: .random(
        temperature: temperature ?? defaultTemperature, topK: topK, topP: topP, minP: minP,
        repetitionPenalty: repetitionPenalty, seed: seed),
      maxTokens: maxTokens, endTokens: endTokens, stopStrings: stop)
  }
}
