public import EspalierBasics
internal import EspalierNumerics

extension ModelDifference {
  /// Everything: the whole, layers, roles and every tensor. What was not measured is absent; infinities are null, as
  /// JSON has none.
  public var json: JSON {
    .object([
      ("a", .string(locationA)),
      ("b", .string(locationB)),
      ("base", locationBase.map { .string($0) } ?? .null),
      ("family_a", familyA.map { .string($0) } ?? .null),
      ("family_b", familyB.map { .string($0) } ?? .null),
      ("near_zero_threshold", .literal("\(Change.nearZero)")),
      ("total", total.json),
      ("layers", .array(layers.map(\.json))),
      ("roles", .array(roles.map(\.json))),
      ("only_in_a", .strings(onlyInA)),
      ("only_in_b", .strings(onlyInB)),
      ("shape_mismatches", .array(mismatches.map(\.json))),
      ("type_mismatches", .strings(retyped.map(\.name))),
      ("not_in_base", .strings(notInBase)),
      ("problems", .strings(problems.map(\.description))),
      ("tensors", .array(tensors.map(\.json))),
    ])
  }
}

extension ModelDifference.Tensor {
  fileprivate var json: JSON {
    .object(
      [
        ("name", .string(name)),
        ("shape", .array(shape.map { .number($0) })),
        ("type_a", .string(elementTypeA.rawValue)),
        ("type_b", .string(elementTypeB.rawValue)),
      ] + place.members + change.members + conflictMember(conflict) + (spectrum.map { [("spectrum", $0.json)] } ?? []))
  }
}

extension ModelDifference.Group {
  fileprivate var json: JSON {
    .object(
      [("name", .string(name)), ("tensor_count", .number(tensorCount))] + change.members + conflictMember(conflict))
  }
}

extension ModelDifference.Mismatch {
  fileprivate var json: JSON {
    [
      "name": .string(name),
      "shape_a": .array(shapeA.map { .number($0) }),
      "shape_b": .array(shapeB.map { .number($0) }),
    ]
  }
}

extension Change {
  fileprivate var members: [(String, JSON)] {
    [
      ("element_count", .number(elementCount)),
      ("non_finite_count", .number(nonFiniteCount)),
      ("norm_a", .number(squaredNormA.squareRoot())),
      ("norm_b", .number(squaredNormB.squareRoot())),
      ("norm_of_change", .number(squaredNorm.squareRoot())),
      ("relative_change", .number(relativeChange)),
      ("cosine", .optional(cosine)),
      ("max_change", .number(Double(largest))),
      ("changed_count", .number(changedCount)),
      ("changed_fraction", .number(changedFraction)),
      ("near_zero_count", .number(nearZeroCount)),
      ("near_zero_fraction", .number(nearZeroFraction)),
    ]
  }
}

extension UpdateConflict {
  fileprivate var json: JSON {
    [
      "element_count": .number(elementCount),
      "both_count": .number(bothCount),
      "opposed_count": .number(opposedCount),
      "opposed_fraction": .number(opposedFraction),
      "opposed_share": .number(opposedShare),
      "update_norm_a": .number(squaredNormA.squareRoot()),
      "update_norm_b": .number(squaredNormB.squareRoot()),
      "cosine": .optional(cosine),
    ]
  }
}

private func conflictMember(_ conflict: UpdateConflict?) -> [(String, JSON)] {
  conflict.map { [("conflict", $0.json)] } ?? []
}
