public import EspalierBasics
internal import EspalierLinearMaps
internal import EspalierNumerics

extension Metric {
  /// The result for machines; NaN and infinities are null, as JSON has none.
  public var json: JSON {
    let bootstrap = header.sampling.bootstrap
    return .object(
      [
        ("metric", .string(Self.name)),
        ("subject", .string(header.subject.rawValue)),
        ("models", .array(header.models.map { .string($0) })),
        ("modes", .array(header.modes.map { .string($0.rawValue) })),
        ("data", .string(header.data)),
        ("protocol", .string(header.protocolText)),
        ("counts", .object(header.counts.map { ($0.key, .number($0.value)) })),
        (
          "bootstrap",
          [
            "units": .string(header.sampling.units.rawValue),
            "resamples": .number(bootstrap.resamples),
            // A seed may exceed what JSON's readers hold exactly.
            "seed": .string("\(bootstrap.seed)"),
          ]
        ),
        ("figures", .object(figures.map { ($0.key, $0.estimate.json) })),
        ("sentences", .array(sentences.map { .string($0) })),
      ] + details)
  }
}

extension Count {
  fileprivate var key: String { noun.split(separator: " ").joined(separator: "_") }
}

extension Estimate {
  var json: JSON {
    var members: [(String, JSON)] = [("value", .number(value))]
    if let interval {
      members += [
        ("lower", .number(interval.lower)), ("upper", .number(interval.upper)), ("level", .number(interval.level)),
        ("interval", .string(interval.method.rawValue)),
      ]
    }
    return .object(members)
  }
}
