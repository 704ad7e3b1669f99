public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// Between importance matrices, which are by weight, and statistics, which are by site.
public struct ImportanceMapping: Sendable {
  /// The sites of one weight of a GGUF file: one, or one an expert.
  private struct Weight {
    var name: String
    var sites: [String]
    var width: Int
  }

  private let weights: [Weight]

  /// - Parameters:
  ///   - config: of the model.
  ///   - families: by which it is recognised.
  /// - Throws: `architecture.unsupported` for a family without names in GGUF files.
  public init(config: JSON, families: [Architecture]) throws(Problem) {
    guard let family = Architecture.recognise(config: config, among: families) else {
      throw Problem(
        .architectureUnsupported, "no family is known for the model type `\(config["model_type"]?.string ?? "")`")
    }
    let model = try family.describe(config: config)
    weights = family.ggufNames(of: model, families: families).compactMap { tensor in
      let sites = tensor.parameters.compactMap(\.inputSite)
      guard sites.count == tensor.parameters.count, let first = tensor.parameters.first else { return nil }
      let width = first.recipe.isTransposed ? first.shape.first : first.shape.last
      // Several weights below each other share a site; experts have their own.
      return Weight(
        name: tensor.name, sites: first.expert == nil ? Array(sites.prefix(1)) : sites, width: width ?? 0)
    }
    guard !weights.isEmpty else {
      throw Problem(
        .architectureUnsupported, "no names in GGUF files are known for the family \(family.name)",
        remedy: "Importance matrices name weights as GGUF files do.")
    }
  }

  /// Writes what an importance matrix says as a file of statistics, which knows sums of squares alone.
  ///
  /// The first weight of a site speaks for the others, which had the same inputs.
  ///
  /// - Returns: entries of weights that the model does not have.
  /// - Throws: `imatrix.format` if none fits or one has another width; what ``StatisticsWriter`` throws.
  public func write(
    _ matrix: ImportanceMatrix, named source: String, to path: String, force: Bool = false
  ) throws(Problem) -> [String] {
    let entries = Dictionary(
      matrix.entries.map { (ExactString($0.name), $0) }, uniquingKeysWith: { first, _ in first })
    var known: Set<ExactString> = []
    var seen: Set<ExactString> = []
    var statistics: [(name: String, value: SiteStatistics)] = []
    for weight in weights {
      guard let entry = entries[ExactString(weight.name)] else { continue }
      known.insert(ExactString(weight.name))
      guard entry.squareSums.count == weight.width * weight.sites.count,
        [1, weight.sites.count].contains(entry.counts.count)
      else {
        throw Problem(
          .importanceFormat,
          "there are \(entry.squareSums.count) values where the model has \(weight.sites.count) x \(weight.width)",
          remedy: "The file is of another model.", tensor: weight.name)
      }
      for (index, site) in weight.sites.enumerated() where seen.insert(ExactString(site)).inserted {
        let count = entry.counts[entry.counts.count == 1 ? 0 : index]
        var value = SiteStatistics(width: weight.width)
        guard let rows = Int(exactly: count.rounded()) else {
          throw Problem(.importanceFormat, "\(count) rows cannot be", tensor: weight.name)
        }
        value.count = rows
        value.squareSums = Array(entry.squareSums[index * weight.width..<(index + 1) * weight.width])
        statistics.append((site, value))
      }
    }
    guard !statistics.isEmpty else {
      throw Problem(
        .importanceFormat, "none of the \(entries.count) entries is of a weight of this model",
        remedy: "The file is of another model.")
    }
    let record = StatisticsRecord(
      model: nil, texts: [],
      cut: "imported from the importance matrix \(source) of \(matrix.datasets.joined(separator: ", ")): "
        + "\(matrix.chunkCount) chunks" + (matrix.chunkSize > 0 ? " of \(matrix.chunkSize) tokens" : ""),
      mode: "unknown", momentLimit: 0)
    let sites = statistics.map {
      StatisticsLayout.Site(
        name: $0.name, width: $0.value.width, moment: MomentShape(width: $0.value.width, limit: 0), hasSums: false)
    }
    let writer = try StatisticsWriter(
      StatisticsLayout(record: record, sites: sites, blocks: []), to: path, force: force)
    for (site, (_, value)) in zip(sites, statistics) { try writer.write(value, of: site) }
    try writer.finish()
    return matrix.entries.map(\.name).filter { !known.contains(ExactString($0)) }
  }

  /// What statistics say as an importance matrix.
  ///
  /// - Parameter chunkSize: tokens that count as a chunk.
  /// - Throws: `statistics.mismatch` if the file has no site of this model, or one of another width.
  public func matrix(of file: StatisticsFile, chunkSize: Int = 512) throws(Problem) -> ImportanceMatrix {
    var entries: [ImportanceMatrix.Entry] = []
    var most = 0.0
    for weight in weights {
      var entry = ImportanceMatrix.Entry(name: weight.name, width: weight.width, counts: [], squareSums: [])
      for site in weight.sites {
        guard let statistics = try file.statistics(of: site, moment: false) else { break }
        guard statistics.width == weight.width else {
          throw Problem(
            .statisticsMismatch, "\(site) has \(statistics.width) columns, and \(weight.width) in this model",
            remedy: "The statistics are of another model.", file: file.path)
        }
        entry.counts.append(Double(statistics.count))
        entry.squareSums += statistics.squareSums
      }
      guard entry.counts.count == weight.sites.count else { continue }
      most = max(most, entry.counts.max() ?? 0)
      entries.append(entry)
    }
    guard !entries.isEmpty else {
      throw Problem(
        .statisticsMismatch, "the statistics have no site of this model",
        remedy: "They are of a model of another family.", file: file.path)
    }
    return ImportanceMatrix(
      entries: entries, datasets: file.record.texts.map(\.name),
      chunkCount: Int((most / Double(max(1, chunkSize))).rounded(.up)), chunkSize: chunkSize)
  }
}
