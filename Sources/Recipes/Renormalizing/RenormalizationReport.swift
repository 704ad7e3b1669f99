public import EspalierBasics
internal import EspalierEvaluation
internal import EspalierLinearMaps
public import EspalierRestructuring

/// What a renormalization did, for people and programs.
public struct RenormalizationReport: Sendable {
  public let sites: [Renormalization.Site]
  /// Sites that stayed as they were.
  public let left: [String]
  public let evaluation: ReductionReport.Evaluation?
  public let seconds: Double
  /// What writing took; nil while it is not written.
  public internal(set) var written: MergeRun.Report?
  private let output: String
  private let request: String
  private let mode: String

  init(
    _ plan: RenormalizationPlan, _ result: Renormalization, evaluation: ReductionReport.Evaluation?, seconds: Double
  ) {
    (sites, left, self.evaluation, self.seconds) = (result.sites, result.left, evaluation, seconds)
    (output, request, mode) = (plan.conversion.options.output, plan.request.line, plan.run.mode.rawValue)
  }

  public var json: JSON {
    .object([
      ("espalier_renormalization", 1), ("output", .string(output)), ("request", .string(request)),
      ("mode", .string(mode)),
      (
        "sites",
        .array(
          sites.map { site in
            [
              "site": .string(site.name), "channels": .number(site.channels), "shifted": .bool(site.isShifted),
              "scaled_in": .string(site.isInNorm ? "norm" : "maps"),
              "scales": .array([.number(site.scales.lowerBound), .number(site.scales.upperBound)]),
              "limited": .number(site.limited), "before": .number(site.before), "after": .number(site.after),
            ]
          })
      ),
      ("left", .array(left.map { .string($0) })), ("evaluation", evaluation?.json ?? .null),
      ("seconds", .number(seconds)), ("peak_bytes", Machine.peakResidentBytes.map { .number($0) } ?? .null),
    ])
  }

  private var sentences: [String] {
    func mean(_ figure: KeyPath<Renormalization.Site, Double>) -> String {
      Figures.percent(sites.reduce(0) { $0 + $1[keyPath: figure] } / Double(max(1, sites.count)))
    }
    var lines = ["\(sites.count) sites: means and deviations were off by \(mean(\.before)), now by \(mean(\.after))"]
    let fixed = sites.count { !$0.isShifted }
    if fixed > 0 {
      lines.append("\(fixed) sites have no bias that could take a shift: their channels are only scaled")
    }
    let limited = sites.reduce(0) { $0 + $1.limited }
    if limited > 0 { lines.append("\(limited) channels could not be scaled as far as wanted") }
    if !left.isEmpty { lines.append("\(left.count) sites stay as they are: \(left.joined(separator: ", "))") }
    return lines
  }

  /// Some lines at the end of a run.
  public var text: String {
    var lines = ["\(output): \(request)"] + sentences.map { "  \($0)" }
    let writing = written.map { ", writing \(Decimals.text($0.seconds, 1)) s" } ?? ""
    lines.append("correcting \(Decimals.text(seconds, 1)) s\(writing)")
    lines.append("memory at most \(Machine.peakResidentBytes.map { ByteCount.text($0) } ?? "unknown")")
    if let evaluation { lines.append("\n" + evaluation.text) }
    return lines.joined(separator: "\n")
  }

  public var markdown: String {
    var text = "# Renormalized\n\n\(request), \(mode) mode\n\n" + sentences.map { "* \($0)\n" }.joined()
    text += "\nBefore and after: how far means and deviations are from those wanted, over their size.\n\n"
    text += "| site | channels | scales | shifted | in | before | after |\n|---|---:|---|---|---|---:|---:|\n"
    for site in sites {
      let scales = [site.scales.lowerBound, site.scales.upperBound].map { Figures.text($0, significant: 3) }
      text += "| \(site.name) | \(site.channels) | \(scales.joined(separator: " to ")) | "
      text += "\(site.isShifted ? "yes" : "no bias") | \(site.isInNorm ? "norm" : "maps") | "
      text += "\(Figures.percent(site.before)) | \(Figures.percent(site.after)) |\n"
    }
    if let evaluation { text += "\n```\n\(evaluation.text)\n```\n" }
    return text
  }
}
