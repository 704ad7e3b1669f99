internal import EspalierBasics
internal import EspalierReduction
internal import EspalierRestructuring

/// What a fit measured, kept for other sizes: nothing of it depends on the size.
struct FitTable: Sendable {
  /// Everything that it depends on.
  let measured: JSON
  let curves: FitCurves
  let steps: [DepthOrder.Step]

  init(_ measured: JSON, _ curves: FitCurves, _ steps: [DepthOrder.Step]) {
    (self.measured, self.curves, self.steps) = (measured, curves, steps)
  }

  var json: JSON {
    [
      "espalier_fit_table": 1, "measured": measured, "rows": .array(curves.rows.map(\.json)),
      "layers": Self.json(steps),
    ]
  }

  /// - Throws: `sensitivity.format` for what is no such table.
  init(at path: String) throws(Problem) {
    guard let json = try? JSON(parsing: try FileSystem.read(path)), json["espalier_fit_table"]?.integer == 1,
      let measured = json["measured"], let rows = json["rows"]?.array, let steps = json["layers"].flatMap(Self.steps)
    else { throw Problem(.sensitivityFormat, "the file is no table of a fit", file: path) }
    let read = rows.compactMap { FitCurves.Row($0) }
    guard read.count == rows.count else {
      throw Problem(.sensitivityFormat, "the table of the fit is damaged", file: path)
    }
    self.init(measured, FitCurves(rows: read), steps)
  }

  /// - Throws: `sensitivity.mismatch` unless it was measured of the same.
  func require(_ wanted: JSON, file: String) throws(Problem) {
    let changed = (wanted.members?.keys ?? []).filter { wanted[$0] != measured[$0] }
    guard changed.isEmpty else {
      throw Problem(
        .sensitivityMismatch, "the table was measured otherwise; different are: \(changed.joined(separator: ", "))",
        remedy: "Measure it again: leave --table out.", file: file)
    }
  }

  static func json(_ steps: [DepthOrder.Step]) -> JSON {
    .array(steps.map { [.number($0.layer), .number($0.divergence)] })
  }

  static func steps(_ json: JSON) -> [DepthOrder.Step]? {
    guard let list = json.array else { return nil }
    let steps = list.compactMap { entry -> DepthOrder.Step? in
      guard let layer = entry[0]?.integer, let divergence = entry[1]?.number else { return nil }
      return DepthOrder.Step(layer: layer, divergence: divergence)
    }
    return steps.count == list.count ? steps : nil
  }
}
