internal import EspalierBasics
internal import EspalierNetworks
internal import EspalierNumerics

/// Mean and standard deviation of every channel of the rows that reach a site.
struct ChannelMoments: Sendable {
  var means: [Double]
  var deviations: [Double]

  var width: Int { means.count }

  /// Of rows whose values, and their squares, add up to this.
  init(sums: [Double], squares: [Double], count: Int) {
    let count = Double(max(1, count))
    means = sums.map { $0 / count }
    deviations = zip(squares, means).map { max(0, $0 / count - $1 * $1).squareRoot() }
  }

  /// Means and deviations of several models in shares, channel by channel; nil if their widths differ.
  init?(mixing moments: [ChannelMoments], shares: [Double]) {
    guard let width = moments.first?.width, moments.allSatisfy({ $0.width == width }) else { return nil }
    (means, deviations) = ([Double](repeating: 0, count: width), [Double](repeating: 0, count: width))
    for (moments, share) in zip(moments, shares) {
      for channel in 0..<width {
        means[channel] += share * moments.means[channel]
        deviations[channel] += share * moments.deviations[channel]
      }
    }
  }

  /// How far these are from others, over the size of the others:
  ///
  ///     √( Σ (μ - μ')² + (σ - σ')² ) / √( Σ μ'² + σ'² )
  func distance(from target: ChannelMoments) -> Double {
    var (difference, size) = (0.0, 0.0)
    for channel in 0..<min(width, target.width) {
      let (mean, deviation) = (target.means[channel], target.deviations[channel])
      difference += (means[channel] - mean) * (means[channel] - mean)
      difference += (deviations[channel] - deviation) * (deviations[channel] - deviation)
      size += mean * mean + deviation * deviation
    }
    return size > 0 ? (difference / size).squareRoot() : 0
  }

  /// Of every site of a network, but those of experts, by name.
  static func all(of network: Network, on sequences: [[Int32]]) throws(Problem) -> [String: ChannelMoments] {
    let run = try BlockRun(network, sequences: sequences)
    var found: [String: ChannelMoments] = [:]
    for block in try network.blocks() {
      var sums = ChannelSums(block.sites.filter { !$0.isExpert })
      _ = try run.runBlock { (site, rows) in sums.add(site, rows) }
      for site in sums.names { found[site] = sums.moments(of: site) }
    }
    return found
  }
}

/// Sums over the rows of some sites. A site that several maps share is shown once for each, which changes no mean.
struct ChannelSums {
  private var sums: [String: (values: [Double], squares: [Double], count: Int)] = [:]

  init(_ sites: [InputSite]) {
    for site in sites {
      let zeros = [Double](repeating: 0, count: site.width)
      sums[site.name] = (zeros, zeros, 0)
    }
  }

  var names: [String] { sums.keys.sorted() }

  mutating func add(_ site: String, _ rows: MatrixView<Float>) {
    guard var sum = sums.removeValue(forKey: site) else { return }
    let width = min(rows.columns, sum.values.count)
    if let first = rows.elements, !rows.isTransposed {
      for row in 0..<rows.rows {
        let values = first + row * rows.stride
        for column in 0..<width {
          let value = Double(values[column])
          sum.values[column] += value
          sum.squares[column] += value * value
        }
      }
    }
    sum.count += rows.rows
    sums[site] = sum
  }

  /// Nil where no row came.
  func moments(of site: String) -> ChannelMoments? {
    guard let sum = sums[site], sum.count > 0 else { return nil }
    return ChannelMoments(sums: sum.values, squares: sum.squares, count: sum.count)
  }
}
