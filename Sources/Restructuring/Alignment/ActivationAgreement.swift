public import EspalierArchitectures
public import EspalierBasics
public import EspalierNetworks
internal import EspalierNumerics

/// How the inputs of two models' maps agree on the same text: correlations of every channel of one with every channel of
/// the other.
///
///     gram[p, q] = mean over tokens of (a_p - mean a_p) (b_q - mean b_q) / (std a_p std b_q)
///
/// Matching units by what they do rather than by their weights: Li et al., 2015, arXiv:1511.07543; Ainsworth, Hayase,
/// Srinivasa, 2023, arXiv:2209.04836, section 3.1, who take products that are not centred. Sites whose inputs lie along
/// the same axes are added up, each with the same weight.
public struct ActivationAgreement {
  struct Gram {
    let dimension: Dimension
    let size: Int
    var values: [Float]
  }

  let grams: [Gram]
  /// Rows that were compared at each site.
  public let rows: Int

  /// Runs both models over the same tokens, block by block.
  ///
  /// Memory beside the networks: the rows of one block's sites, of both models.
  ///
  /// - Parameters:
  ///   - description: of both models.
  ///   - sequences: tokens that mean the same to both.
  /// - Throws: `restructuring` without text; what running throws.
  public static func measure(
    _ model: Network, against reference: Network, described description: ModelDescription, sequences: [[Int32]],
    workers: WorkerPool
  ) throws(Problem) -> ActivationAgreement {
    guard !sequences.isEmpty else {
      throw Problem(.restructuring, "activations are compared on text", remedy: "Give --text.")
    }
    let inputs = dimensions(of: description)
    let runs = (try BlockRun(reference, sequences: sequences), try BlockRun(model, sequences: sequences))
    var grams: [Gram] = []
    var rows = 0
    for block in try model.blocks() {
      let sites = Set(block.sites.filter { !$0.isExpert }.map(\.name))
      var (first, second): ([String: SiteRows], [String: SiteRows]) = ([:], [:])
      _ = try runs.0.runBlock { (site, rows) in
        if sites.contains(site) { first[site, default: SiteRows()].add(rows, of: site, once: block) }
      }
      _ = try runs.1.runBlock { (site, rows) in
        if sites.contains(site) { second[site, default: SiteRows()].add(rows, of: site, once: block) }
      }
      var seen = Set<String>()
      for site in block.sites where sites.contains(site.name) && seen.insert(site.name).inserted {
        guard let dimension = inputs[site.name], var a = first[site.name], var b = second[site.name],
          a.width == b.width, a.count == b.count, a.count > 0
        else { continue }
        a.standardize()
        b.standardize()
        rows = max(rows, a.count)
        let place: Int
        if let known = grams.firstIndex(where: { $0.dimension == dimension }) {
          place = known
        } else {
          place = grams.count
          grams.append(
            Gram(dimension: dimension, size: a.width, values: [Float](repeating: 0, count: a.width * a.width)))
        }
        try grams[place].add(a, b, workers)
      }
    }
    return ActivationAgreement(grams: grams, rows: rows)
  }

  /// The axes along which rows enter each site.
  private static func dimensions(of description: ModelDescription) -> [String: Dimension] {
    description.parameters.reduce(into: [:]) { found, parameter in
      guard let site = parameter.inputSite, found[site] == nil else { return }
      let input = parameter.dimensions.indices.first { UnitGroup.isInput($0, of: parameter) }
      if let input { found[site] = parameter.dimensions[input] }
    }
  }
}

extension ActivationAgreement.Gram {
  fileprivate mutating func add(_ a: SiteRows, _ b: SiteRows, _ workers: WorkerPool) throws(Problem) {
    let size = size
    try values.withUnsafeMutableBufferPointer { (target) throws(Problem) in
      let target = try MutableMatrixView(target, rows: size, columns: size)
      try a.values.withUnsafeBufferPointer { (first) throws(Problem) in
        try b.values.withUnsafeBufferPointer { (second) throws(Problem) in
          let first = try MatrixView(first, rows: a.count, columns: size)
          let second = try MatrixView(second, rows: b.count, columns: size)
          try MatrixProduct.multiply(first.transposed, second, into: target, accumulate: true) {
            (count, body) throws(Problem) in try workers.forEach(count, body)
          }
        }
      }
    }
  }
}

/// The rows that have reached a site.
struct SiteRows {
  var width = 0
  var count = 0
  var values: [Float] = []

  /// A site that several maps share is shown once for each of them; the rows of the first count.
  mutating func add(_ rows: MatrixView<Float>, of site: String, once block: NetworkBlock) {
    let shown = block.sites.count { $0.name == site }
    defer { showings += 1 }
    guard showings % max(1, shown) == 0 else { return }
    width = rows.columns
    count += rows.rows
    guard let first = rows.elements, !rows.isTransposed else { return }
    for row in 0..<rows.rows {
      values.append(contentsOf: UnsafeBufferPointer(start: first + row * rows.stride, count: rows.columns))
    }
  }

  private var showings = 0

  /// Brings every channel to mean 0 and mean square 1 / count, so that products are correlations. Channels that never
  /// change become 0.
  mutating func standardize() {
    var sums = [Double](repeating: 0, count: width)
    var squares = sums
    for row in 0..<count { for column in 0..<width { sums[column] += Double(values[row * width + column]) } }
    let means = sums.map { $0 / Double(count) }
    for row in 0..<count {
      for column in 0..<width {
        let difference = Double(values[row * width + column]) - means[column]
        squares[column] += difference * difference
      }
    }
    let scales = squares.map { $0 > 0 && $0.isFinite ? 1 / $0.squareRoot() : 0 }
    for row in 0..<count {
      for column in 0..<width {
        let place = row * width + column
        values[place] = Float((Double(values[place]) - means[column]) * scales[column])
      }
    }
  }
}
