public import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNumerics

extension Inspection {
  /// Everything: totals, groups, findings and every tensor. What was not measured is absent; NaN and infinities are
  /// null, as JSON has none.
  public var json: JSON {
    .object([
      ("location", .string(location)),
      ("family", outline.family.map { .string($0) } ?? .null),
      ("tensor_count", .number(tensors.count)),
      ("parameter_count", .number(parameterCount)),
      ("byte_count", .number(byteCount)),
      ("plain_byte_count", .number(plainByteCount)),
      ("types", .array(types.map(\.json))),
      ("reduced", reducedJSON),
      ("roles", .array(roles.map(\.json))),
      ("modules", .array(modules.map(\.json))),
      ("layers", .array(layers.map(\.json))),
      ("tied", .array(outline.ties.map(\.json))),
      ("unknown", .strings(outline.unknown)),
      ("repeated", .strings(outline.repeated)),
      ("missing", .strings(outline.missing)),
      ("misfits", .array(outline.misfits.map(\.json))),
      ("problems", .strings(outline.problems.map(\.description))),
      ("tensors", .array(tensors.map(\.json))),
    ])
  }
}

extension Inspection.Tensor {
  fileprivate var json: JSON {
    .object(
      [
        ("name", .string(parameter.name)),
        ("shape", .array(parameter.shape.map { .number($0) })),
        ("type", .string(typeName)),
        ("byte_count", .number(byteCount)),
      ] + (form.map { [("form", $0.json), ("plain_byte_count", .number(plainByteCount))] } ?? []) + place.members
        + (statistics?.members ?? []) + (spectrum.map { [("spectrum", $0.json)] } ?? []))
  }
}

extension Inspection.Group {
  fileprivate var json: JSON {
    .object(
      [
        ("name", .string(name)),
        ("tensor_count", .number(tensorCount)),
        ("parameter_count", .number(parameterCount)),
        ("byte_count", .number(byteCount)),
      ] + (statistics?.members ?? []))
  }
}

extension ModelOutline.Tie {
  fileprivate var json: JSON { ["name": .string(name), "target": .string(target), "stored": .bool(isStored)] }
}

extension ModelOutline.Misfit {
  fileprivate var json: JSON {
    [
      "name": .string(name),
      "expected": .array(expected.map { .number($0) }),
      "found": .array(found.map { .number($0) }),
    ]
  }
}

extension TensorStatistics {
  fileprivate var members: [(String, JSON)] {
    [
      ("norm", .number(norm)),
      ("rms", .number(rootMeanSquare)),
      ("mean", .number(mean)),
      ("min", .optional(minimum.map { Double($0) })),
      ("max", .optional(maximum.map { Double($0) })),
      ("zero_count", .number(zeroCount)),
      ("zero_fraction", .number(zeroFraction)),
      ("nan_count", .number(nanCount)),
      ("infinity_count", .number(infinityCount)),
    ]
  }
}

// MARK: - Shared with differences

extension TensorPlace {
  var members: [(String, JSON)] {
    let layer: JSON = if case .layer(let number) = section { .number(number) } else { .null }
    return [
      ("canonical_name", .string(canonicalName)),
      ("module", .string(module)),
      ("section", .string(section.name)),
      ("layer", layer),
      ("role", role.map { .string($0) } ?? .null),
    ]
  }
}

extension Result where Success == Spectrum, Failure == Problem {
  var json: JSON {
    switch self {
    case .success(let spectrum): spectrum.json
    case .failure(let problem): ["problem": .string(problem.description)]
    }
  }
}

extension Spectrum {
  fileprivate var json: JSON {
    [
      "method": .string(method.rawValue),
      "count": .number(count),
      "largest": .number(largest),
      "smallest": .optional(smallest),
      "stable_rank": .number(stableRank),
      "energy_rank_90": energyRank90.map { .number($0) } ?? .null,
      "energy_rank_99": energyRank99.map { .number($0) } ?? .null,
    ]
  }
}

extension JSON {
  static func strings(_ texts: [String]) -> JSON { .array(texts.map { .string($0) }) }
  static func optional(_ value: Double?) -> JSON { value.map { .number($0) } ?? .null }
}
