public import EspalierBasics
internal import EspalierNumerics

extension SiteStatistics {
  /// Adds what was gathered from other rows of the same site.
  ///
  /// - Throws: `statistics.mismatch` if the widths differ, or the parts of the second moment that were kept.
  public mutating func add(_ other: SiteStatistics) throws(Problem) {
    guard width == other.width, let shape = MomentShape(of: moment), shape == MomentShape(of: other.moment) else {
      throw Problem(
        .statisticsMismatch, "statistics of \(width) columns cannot take those of \(other.width)",
        remedy: "Both need the same width, and the same part of the second moment.")
    }
    func add(_ values: [Double], to sums: inout [Double]) {
      for index in sums.indices { sums[index] += values[index] }
    }
    count += other.count
    add(other.sums, to: &sums)
    add(other.squareSums, to: &squareSums)
    add(other.absoluteSums, to: &absoluteSums)
    switch (moment, other.moment) {
    case (.full(var a)?, .full(let b)?):
      moment = nil
      add(b.elements, to: &a.elements)
      moment = .full(a)
    case (.blocks(var a)?, .blocks(let b)?):
      moment = nil
      for index in a.indices { add(b[index].elements, to: &a[index].elements) }
      moment = .blocks(a)
    default: break
    }
  }
}

extension StatisticsFile {
  /// Writes the sums of two files of one model, as if the texts of the second had followed those of the first.
  ///
  /// - Throws: `statistics.mismatch` if they are of different models or sites, or were taken in different ways; what
  ///   ``StatisticsWriter`` throws.
  public func adding(_ other: StatisticsFile, to path: String, force: Bool = false) throws(Problem) {
    let (a, b) = (record, other.record)
    var differing: [String] = []
    if a.model != b.model { differing.append("the model") }
    if a.tokenizer != b.tokenizer { differing.append("the tokenizer") }
    if a.mode != b.mode { differing.append("the mode") }
    if a.momentLimit != b.momentLimit { differing.append("the limit of second moments") }
    if layout.sites != other.layout.sites || layout.blocks != other.layout.blocks { differing.append("the sites") }
    guard differing.isEmpty else {
      throw Problem(
        .statisticsMismatch,
        "these statistics do not add up, since they differ in \(differing.joined(separator: ", "))",
        file: other.path)
    }
    var record = a
    record.texts += b.texts
    record.tokens = a.tokens.flatMap { first in b.tokens.map { Digest(of: "\(first) \($0)") } }
    if a.cut != b.cut { record.cut = "\(a.cut); and \(b.cut)" }
    let layout = StatisticsLayout(record: record, sites: layout.sites, blocks: layout.blocks)
    let writer = try StatisticsWriter(layout, to: path, force: force)
    for site in layout.sites {
      guard var sum = try statistics(of: site.name), let more = try other.statistics(of: site.name) else { continue }
      try sum.add(more)
      try writer.write(sum, of: site)
    }
    for (index, (first, second)) in zip(blocks, other.blocks).enumerated() {
      let sums = [first, second].map { ($0.similarity ?? 0) * Double($0.rows) }
      try writer.finish(block: index, rows: first.rows + second.rows, cosines: sums[0] + sums[1])
    }
    try writer.finish()
  }
}
