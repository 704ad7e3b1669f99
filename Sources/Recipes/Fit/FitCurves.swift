internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierNetworks
internal import EspalierReduction

/// What every parameter loses in every form, each by itself.
struct FitCurves: Sendable {
  struct Candidate: Sendable, Hashable {
    /// The number of the form, and of its level.
    var form: Int
    var level: Int
    var bytes: Int
    /// In nats a token, or, where no text says what matrices do to predictions, squared relative errors.
    var loss: Double
  }

  struct Row: Sendable, Hashable {
    /// The parameter's name.
    var name: String
    /// The number of its layer; nil outside layers.
    var layer: Int?
    var denseBytes: Int
    var candidates: [Candidate]
  }

  /// In the order of the model.
  var rows: [Row]
}

extension FitCurves.Row {
  var json: JSON {
    [
      "name": .string(name), "layer": layer.map { .number($0) } ?? .null, "dense_bytes": .number(denseBytes),
      "candidates": .array(
        candidates.map { [.number($0.form), .number($0.level), .number($0.bytes), .number($0.loss)] }),
    ]
  }

  init?(_ json: JSON) {
    guard let name = json["name"]?.string, let bytes = json["dense_bytes"]?.integer,
      let listed = json["candidates"]?.array
    else { return nil }
    (self.name, layer, denseBytes) = (name, json["layer"]?.integer, bytes)
    candidates = listed.compactMap { entry in
      guard let form = entry[0]?.integer, let level = entry[1]?.integer, let bytes = entry[2]?.integer,
        let loss = entry[3]?.number
      else { return nil }
      return FitCurves.Candidate(form: form, level: level, bytes: bytes, loss: loss)
    }
    guard candidates.count == listed.count else { return nil }
  }
}

// MARK: - What files say

extension FitCurves.Row {
  /// Whether the row, which a file may have made up, is that of a parameter, and its candidates are forms that there are.
  func isOf(_ target: ReductionTarget, in forms: [FitForm]) -> Bool {
    ExactString(name) == ExactString(target.parameter.name) && denseBytes == target.denseBytes
      && layer == target.matrices.first?.layer
      && candidates.allSatisfy { candidate in
        forms.indices.contains(candidate.form) && forms[candidate.form].levels.indices.contains(candidate.level)
          && (0..<max(1, denseBytes)).contains(candidate.bytes) && candidate.loss.isFinite
      }
  }
}

extension FitCurves {
  /// Whether there is one row for every parameter, in their order.
  func areOf(_ targets: [ReductionTarget], in forms: [FitForm]) -> Bool {
    rows.count == targets.count && zip(rows, targets).allSatisfy { $0.isOf($1, in: forms) }
  }
}
