public import EspalierBasics
internal import EspalierNumerics

extension Divergence {
  public var figures: [Figure] {
    var figures = [Figure("kl", "KL divergence, mean over tokens, nats", kl)]
    if let macroKL { figures.append(Figure("kl_macro", "  mean over documents", macroKL)) }
    figures += Self.spread(klSpread, "kl")
    figures.append(Figure("js", "Jensen-Shannon divergence, mean over tokens, nats", js))
    if let macroJS { figures.append(Figure("js_macro", "  mean over documents", macroJS)) }
    figures += Self.spread(jsSpread, "js")
    figures.append(Figure("same_top", "same most probable token", sameTop, .share))
    figures.append(Figure("delta_p", "change of the true token's probability, mean", probabilityChange, .points))
    figures.append(Figure("delta_p_rms", "  root mean square", probabilityChangeRMS, .points))
    return figures
  }

  private static func spread(_ spread: Spread, _ key: String) -> [Figure] {
    [
      Figure("\(key)_median", "  median", spread.median),
      Figure("\(key)_p90", "  90th percentile", spread.p90),
      Figure("\(key)_p95", "  95th percentile", spread.p95),
      Figure("\(key)_p99", "  99th percentile", spread.p99),
      Figure("\(key)_p99.9", "  99.9th percentile", spread.p999),
      Figure("\(key)_max", "  greatest", spread.maximum),
    ]
  }

  public var sentences: [String] {
    guard klSpread.maximum > 0 || jsSpread.maximum > 0 else {
      return ["Both models say exactly the same of every token."]
    }
    return []
  }

  public var details: [(String, JSON)] {
    guard documents.count > 1 else { return [] }
    return [
      (
        "documents",
        .array(
          documents.map {
            [
              "name": .string($0.name), "tokens": .number($0.tokens), "kl": .number($0.kl), "js": .number($0.js),
              "same_top": .number($0.sameTop),
            ]
          })
      )
    ]
  }
}
