import ArgumentParser
import EspalierBasics
import EspalierEvaluation

extension ArgumentHelp {
  fileprivate static func gate(_ limit: String, _ valueName: String) -> ArgumentHelp {
    ArgumentHelp("Gate: \(limit)", valueName: valueName)
  }
}

/// Limits that become the exit code.
struct GateOptions: ParsableArguments {
  @Option(help: .gate("mean KL divergence at most, nats a token, e.g. 0.05.", "nats")) var maxKl: String?
  @Option(help: .gate("mean Jensen-Shannon divergence at most.", "nats")) var maxJs: String?
  @Option(help: .gate("perplexity at most.", "value")) var maxPerplexity: String?
  @Option(help: .gate("rise over the reference's perplexity at most, e.g. 2%.", "share")) var maxPerplexityRise: String?
  @Option(help: .gate("bits per byte at most.", "bits")) var maxBitsPerByte: String?
  @Option(help: .gate("share of tokens with the same most probable token at least.", "share")) var minSameTop: String?
  @Option(help: .gate("share of choices or classes right at least, e.g. 60%.", "share")) var minAccuracy: String?
  @Option(help: .gate("the same, likelihoods by length.", "share")) var minAccuracyNorm: String?
  @Option(help: .gate("share of answers right at least.", "share")) var minExactMatch: String?
  @Option(help: .gate("fall of the share right below the reference's at most.", "share")) var maxAccuracyDrop: String?
  @Option(help: .gate("mean cosine of embeddings at least.", "cosine")) var minCosine: String?

  @Flag(help: "The whole 95 % interval must keep the gates, not only the figure.")
  var strict = false

  var gates: [Gate] {
    get throws(Problems) {
      let given: [(Gate.Kind, String?)] = [
        (.maximumKL, maxKl), (.maximumJS, maxJs), (.maximumPerplexity, maxPerplexity),
        (.maximumPerplexityRise, maxPerplexityRise), (.maximumBitsPerByte, maxBitsPerByte),
        (.minimumSameTop, minSameTop), (.minimumAccuracy, minAccuracy), (.minimumNormalizedAccuracy, minAccuracyNorm),
        (.minimumExactMatch, minExactMatch), (.maximumAccuracyDrop, maxAccuracyDrop), (.minimumCosine, minCosine),
      ]
      var problems = Problems()
      let gates = given.compactMap { kind, text in
        text.flatMap { text in
          problems.collect { () throws(Problem) in try Gate(kind, parsing: text, strict: strict) }
        }
      }
      guard problems.all.isEmpty else { throw problems }
      return gates
    }
  }
}

/// A gate did not hold.
let gateFailed = ExitCode(3)
