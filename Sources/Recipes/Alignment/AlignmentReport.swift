public import EspalierBasics
internal import EspalierEvaluation
internal import EspalierLinearMaps
public import EspalierRestructuring

/// What an alignment found, for people and programs.
public struct AlignmentReport: Sendable {
  public let alignment: Alignment
  /// Rows of activations that were compared at each site; nil where weights alone told.
  public let rows: Int?
  /// Nil if they were not asked for.
  public let vectors: SingularAlignment?
  public let evaluation: ReductionReport.Evaluation?
  /// Of finding the order.
  public let seconds: Double
  /// What writing took; nil while it is not written.
  public internal(set) var written: MergeRun.Report?
  private let output: String
  private let request: String
  private let reference: String
  private let mode: String
  private let inputs: JSON

  /// - Parameters:
  ///   - asked: the request in a line.
  ///   - reference: what the model was matched to.
  ///   - inputs: by which a run that goes on tells its own outputs (``AlignedOutput``).
  init(
    _ alignment: Alignment, asked: String, to reference: String, output: String, mode: NumericMode, inputs: JSON,
    rows: Int? = nil,
    vectors: SingularAlignment? = nil, evaluation: ReductionReport.Evaluation? = nil, seconds: Double
  ) {
    (self.alignment, self.rows, self.vectors) = (alignment, rows, vectors)
    (self.evaluation, self.seconds) = (evaluation, seconds)
    (self.output, request, self.reference, self.mode) = (output, asked, reference, mode.rawValue)
    self.inputs = inputs
  }

  /// One name of an axis over all its layers.
  private struct Summary {
    let name: String
    var matches: [Alignment.AxisMatch] = []

    var entries: Int { matches.reduce(0) { $0 + $1.entries } }
    func share(_ figure: KeyPath<Alignment.AxisMatch, Double>) -> Double {
      matches.reduce(0) { $0 + $1[keyPath: figure] * Double($1.entries) } / Double(max(1, entries))
    }
    var means: String {
      let told = matches.count { $0.isByActivations }
      return told == 0 ? "weights" : told == matches.count ? "activations" : "both"
    }
  }

  /// By the last part of the axes' names, in the order in which they occur.
  private var summaries: [Summary] {
    var found: [Summary] = []
    for match in alignment.axes {
      let name = match.axis.split(separator: "/").filter { Int($0) == nil }.joined(separator: "/")
      if let place = found.firstIndex(where: { $0.name == name }) {
        found[place].matches.append(match)
      } else {
        found.append(Summary(name: name, matches: [match]))
      }
    }
    return found
  }

  public var json: JSON {
    func products(_ products: AlignmentProducts) -> JSON {
      ["cosine": .number(products.cosine), "distance": .number(products.distance)]
    }
    return .object([
      ("espalier_alignment", 1), ("output", .string(output)), ("request", .string(request)),
      ("reference", .string(reference)), ("mode", .string(mode)), ("inputs", inputs),
      ("sweeps", .number(alignment.sweeps)),
      ("rows", rows.map { .number($0) } ?? .null), ("before", products(alignment.before)),
      ("after", products(alignment.after)),
      (
        "singular_vectors",
        vectors.map {
          [
            "matrices": .number($0.matrices), "share": .number(SingularAlignment.share),
            "before": .number($0.before), "after": .number($0.after),
          ]
        } ?? .null
      ),
      (
        "axes",
        .array(
          alignment.axes.map {
            [
              "axis": .string($0.axis), "entries": .number($0.entries), "moved": .number($0.moved),
              "mutual": .number($0.mutual), "by": .string($0.isByActivations ? "activations" : "weights"),
            ]
          })
      ),
      ("evaluation", evaluation?.json ?? .null), ("seconds", .number(seconds)),
      ("peak_bytes", Machine.peakResidentBytes.map { .number($0) } ?? .null),
    ])
  }

  private var table: TextTable {
    let summaries = summaries
    var table = TextTable()
    table.add("axis", align: .left, summaries.map(\.name))
    table.add("instances", summaries.map { "\($0.matches.count)" })
    table.add("entries", summaries.map { "\($0.entries)" })
    table.add("moved", summaries.map { Figures.percent($0.share(\.moved)) })
    table.add("mutual", summaries.map { Figures.percent($0.share(\.mutual)) })
    table.add("by", align: .left, summaries.map(\.means))
    return table
  }

  private var comparison: [String] {
    let (before, after) = (alignment.before, alignment.after)
    func change(_ name: String, _ before: Double, _ after: Double) -> String {
      "\(name) \(Figures.text(before, significant: 4)) before, \(Figures.text(after, significant: 4)) after"
    }
    var lines = [
      change("cosine of all weights", before.cosine, after.cosine),
      change("distance of all weights", before.distance, after.distance),
    ]
    if let vectors {
      lines.append(change("singular vectors of \(vectors.matrices) matrices", vectors.before, vectors.after))
    }
    return lines
  }

  /// Some lines at the end of a run.
  public var text: String {
    var lines = ["\(output): \(request)"] + table.lines.map { "  \($0)" } + comparison
    let writing = written.map { ", writing \(Decimals.text($0.seconds, 1)) s" } ?? ""
    lines.append("matching \(Decimals.text(seconds, 1)) s, \(alignment.sweeps) sweeps\(writing)")
    lines.append("memory at most \(Machine.peakResidentBytes.map { ByteCount.text($0) } ?? "unknown")")
    if let evaluation { lines.append("\n" + evaluation.text) }
    return lines.joined(separator: "\n")
  }

  public var markdown: String {
    var text = "# Aligned\n\n\(request), \(mode) mode\n\n" + comparison.map { "* \($0)\n" }.joined()
    text +=
      "\nMoved: entries that have another place. Mutual: entries that agree with their partner more than with any "
    text += "other, and the partner with them.\n\n| axis | entries | moved | mutual | by |\n|---|---:|---:|---:|---|\n"
    for match in alignment.axes {
      text += "| \(match.axis) | \(match.entries) | \(Figures.percent(match.moved)) | "
      text += "\(Figures.percent(match.mutual)) | \(match.isByActivations ? "activations" : "weights") |\n"
    }
    if let evaluation { text += "\n```\n\(evaluation.text)\n```\n" }
    return text
  }
}
