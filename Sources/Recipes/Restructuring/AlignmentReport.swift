public import EspalierBasics
internal import EspalierEvaluation
internal import EspalierExecution
public import EspalierRestructuring

/// What an alignment found, for people and programs.
public struct AlignmentReport: Sendable {
  public let alignment: Alignment
  public let singularVectors: SingularAlignment?
  public let evaluation: ReductionReport.Evaluation?
  public let seconds: Double
  public internal(set) var written: MergeRun.Report?
  private let model: String
  private let reference: String
  private let request: String
  private let output: String

  init(
    _ aligned: AlignmentRun.Aligned, model: String, reference: String, request: String, output: String,
    evaluation: ReductionReport.Evaluation?
  ) {
    (alignment, singularVectors, seconds) = (aligned.alignment, aligned.singularVectors, aligned.seconds)
    (self.model, self.reference, self.request, self.output) = (model, reference, request, output)
    self.evaluation = evaluation
  }

  public var json: JSON {
    func products(_ products: AlignmentProducts) -> JSON {
      [
        "agreement": .number(products.agreement), "inner_product": .number(products.both),
        "cosine": .number(products.cosine),
        "distance": .number(products.distance),
      ]
    }
    return .object([
      ("espalier_alignment", 1), ("output", .string(output)), ("model", .string(model)),
      ("reference", .string(reference)), ("request", .string(request)), ("before", products(alignment.before)),
      ("after", products(alignment.after)), ("sweeps", .number(alignment.sweeps)),
      (
        "axes",
        .array(
          alignment.axes.map { axis in
            [
              "axis": .string(axis.axis), "entries": .number(axis.entries), "moved": .number(axis.moved),
              "mutual": .number(axis.mutual), "by": .string(axis.isByActivations ? "activations" : "weights"),
            ]
          })
      ),
      (
        "singular_vectors",
        singularVectors.map { vectors in
          [
            "matrices": .number(vectors.matrices), "share_of_largest": .number(SingularAlignment.share),
            "before": .number(vectors.before), "after": .number(vectors.after),
          ]
        } ?? .null
      ),
      ("evaluation", evaluation?.json ?? .null), ("seconds", .number(seconds)),
      ("peak_bytes", Machine.peakResidentBytes.map { .number($0) } ?? .null),
    ])
  }

  /// What was found, in lines.
  public var text: String {
    var lines = summary
    if let evaluation { lines += ["", evaluation.text] }
    lines.append("")
    lines.append("aligned in \(Figures.text(seconds, significant: 3)) s, written to \(output)")
    return lines.joined(separator: "\n")
  }

  public var markdown: String {
    var text = "# \(model), aligned to \(reference)\n\n\(request).\n\n"
    text += summary.map { "    \($0)\n" }.joined()
    text += "\n| axis | entries | moved | agree with each other most | by |\n|---|---|---|---|---|\n"
    for axis in alignment.axes {
      text +=
        "| `\(axis.axis)` | \(axis.entries) | \(Figures.percent(axis.moved)) | \(Figures.percent(axis.mutual)) | "
        + "\(axis.isByActivations ? "activations" : "weights") |\n"
    }
    if let evaluation { text += "\n```\n\(evaluation.text)\n```\n" }
    return text
  }

  private var summary: [String] {
    let (before, after) = (alignment.before, alignment.after)
    func figure(_ value: Double) -> String { Figures.text(value, significant: 4) }
    var lines = [
      "cosine of all matched weights: \(figure(before.cosine)) before, \(figure(after.cosine)) after",
      "distance of all matched weights: \(figure(before.distance)) before, \(figure(after.distance)) after",
    ]
    if let vectors = singularVectors {
      lines.append(
        "leading singular vectors of \(vectors.matrices) matrices, alignment: \(figure(vectors.before)) before, "
          + "\(figure(vectors.after)) after")
    }
    let entries = alignment.axes.reduce(0) { $0 + $1.entries }
    let mutual = alignment.axes.reduce(0.0) { $0 + $1.mutual * Double($1.entries) } / Double(max(1, entries))
    let moved = alignment.axes.reduce(0.0) { $0 + $1.moved * Double($1.entries) } / Double(max(1, entries))
    lines.append(
      "\(alignment.axes.count) axes in \(alignment.sweeps) sweeps: \(Figures.percent(moved)) of the entries moved, "
        + "\(Figures.percent(mutual)) agree with their partner most, and it with them")
    return lines
  }
}
