internal import EspalierBasics
public import EspalierNumerics

/// What became of one matrix.
public struct MatrixOutcome: Sendable {
  public var name: String
  /// The stored parameter that it is in.
  public var parameter: String
  public var site: String
  public var outputs: Int
  public var inputs: Int
  public var budget: String
  /// The error of what is stored.
  public var error: Certificate
  /// The error of the plain method (magnitude, SVD, rounding) at the same budget; nil where it was not measured.
  public var baseline: Double?
  /// Numbers that are stored, zeros not counted.
  public var numbers: Int
  /// Rows of calibration text that reached it; 0 without text.
  public var rows: Int
  public var seconds: Double

  var json: JSON {
    [
      "matrix": .string(name), "parameter": .string(parameter), "site": .string(site),
      "shape": [.number(outputs), .number(inputs)], "budget": .string(budget),
      "error": .number(error.error), "error_kind": .string(error.kind.rawValue), "error_norm": .string(error.norm),
      "assumptions": .array(error.assumptions.map { .string($0) }),
      "floor": error.floor.map { .number($0) } ?? .null, "baseline_error": baseline.map { .number($0) } ?? .null,
      "numbers": .number(numbers), "rows": .number(rows), "seconds": .number(seconds),
    ]
  }

  init(
    name: String, parameter: String, site: String, outputs: Int, inputs: Int, budget: String, error: Certificate,
    baseline: Double?, numbers: Int, rows: Int, seconds: Double
  ) {
    self.name = name
    self.parameter = parameter
    self.site = site
    self.outputs = outputs
    self.inputs = inputs
    self.budget = budget
    self.error = error
    self.baseline = baseline
    self.numbers = numbers
    self.rows = rows
    self.seconds = seconds
  }

  init?(_ json: JSON) {
    guard let name = json["matrix"]?.string, let parameter = json["parameter"]?.string,
      let site = json["site"]?.string, let shape = json["shape"]?.array?.compactMap(\.integer), shape.count == 2,
      let budget = json["budget"]?.string,
      let kind = json["error_kind"]?.string.flatMap({ Certificate.Kind(rawValue: $0) }),
      let norm = json["error_norm"]?.string, let numbers = json["numbers"]?.integer, let rows = json["rows"]?.integer,
      let seconds = json["seconds"]?.number
    else { return nil }
    let certificate = Certificate(
      error: json["error"]?.number ?? .infinity, norm: norm, kind: kind, floor: json["floor"]?.number,
      assumptions: json["assumptions"]?.array?.compactMap(\.string) ?? [])
    self.init(
      name: name, parameter: parameter, site: site, outputs: shape[0], inputs: shape[1], budget: budget,
      error: certificate, baseline: json["baseline_error"]?.number, numbers: numbers, rows: rows, seconds: seconds)
  }
}
