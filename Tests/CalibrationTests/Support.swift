import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics
import TestSupport

@testable import EspalierCalibration

/// The small models of the networks' tests.
struct Model {
  let name: String

  var path: String { "\(packageFolder)/Tests/NetworksTests/Fixtures/\(name)" }

  static let workers = WorkerPool(threads: 2)

  func network(workers: WorkerPool = Model.workers) throws -> Network {
    try Network(try SafetensorsCheckpoint(at: path), residency: .streamed, workers: workers)
  }

  /// Texts of tokens that every small model knows.
  static func sequences(_ count: Int = 9, length: Int = 14) -> [[Int32]] {
    var generator = SeededGenerator(seed: 3)
    return (0..<count).map { _ in (0..<length).map { _ in Int32(generator.next() % 40) } }
  }

  /// A parameter as numbers.
  func values(_ name: String) throws -> [Double] {
    for file in try FileSystem.list(path) where file.hasPrefix("model") && file.hasSuffix(".safetensors") {
      let header = try SafetensorsHeader(reading: try File.reading("\(path)/\(file)"))
      guard let tensor = header.tensors.first(where: { $0.name == name }) else { continue }
      let bytes = try File.reading(tensor.file).read(tensor.byteCount, at: tensor.offset)
      return tensor.elementType.values(of: bytes).map(Double.init)
    }
    return []
  }

  /// Calibrates into `path`.
  func calibrate(
    _ sequences: [[Int32]] = Model.sequences(), to path: String, memory: Int = 1 << 30, momentLimit: Int = 8192,
    workers: WorkerPool = Model.workers, resume: Bool = false, record: StatisticsRecord? = nil
  ) throws -> Calibration {
    let calibration = try Calibration(
      try network(workers: workers), sequences: sequences, memory: memory, momentLimit: momentLimit, workers: workers)
    _ = try calibration.run(record ?? self.record(momentLimit), to: path, resume: resume)
    return calibration
  }

  func record(_ momentLimit: Int = 8192) -> StatisticsRecord {
    StatisticsRecord(
      model: ModelIdentity(weights: Digest(of: name), config: Digest(of: "config")),
      texts: [.init(name: "text", digest: Digest(of: "text"))], cut: "a test", mode: "exact", momentLimit: momentLimit)
  }

  /// All rows that reach each site, in their order.
  func rows(_ sequences: [[Int32]] = Model.sequences()) throws -> [String: [[Float]]] {
    let network = try network()
    let run = try BlockRun(network, sequences: sequences)
    var rows: [String: [[Float]]] = [:]
    for _ in try network.blocks() {
      _ = try run.runBlock { (site, view) throws(Problem) in
        for row in 0..<view.rows {
          rows[site, default: []].append((0..<view.columns).map { view.elements![row * view.stride + $0] })
        }
      }
    }
    return rows
  }
}

/// Sums over rows, written out in float64.
func reference(_ rows: [[Double]]) -> SiteStatistics {
  let width = rows.first?.count ?? 0
  var statistics = SiteStatistics(width: width)
  var moment = [Double](repeating: 0, count: width * width)
  for row in rows {
    statistics.count += 1
    for i in 0..<width {
      statistics.sums[i] += row[i]
      statistics.squareSums[i] += row[i] * row[i]
      statistics.absoluteSums[i] += abs(row[i])
      for j in 0..<width { moment[i * width + j] += row[i] * row[j] }
    }
  }
  statistics.moment = (try? Matrix(rows: width, columns: width, elements: moment)).map { .full($0) }
  return statistics
}

extension SiteStatistics {
  /// The largest difference in any sum, relative to the largest sum of squares.
  func distance(to other: SiteStatistics) -> Double {
    guard width == other.width, count == other.count else { return .infinity }
    let scale = max(squareSums.max() ?? 0, 1e-300)
    let linear = max(absoluteSums.max() ?? 0, 1e-300)
    var worst = 0.0
    for i in 0..<width {
      worst = max(worst, abs(sums[i] - other.sums[i]) / linear)
      worst = max(worst, abs(absoluteSums[i] - other.absoluteSums[i]) / linear)
      worst = max(worst, abs(squareSums[i] - other.squareSums[i]) / scale)
    }
    switch (moment, other.moment) {
    case (.full(let a)?, .full(let b)?):
      for (x, y) in zip(a.elements, b.elements) { worst = max(worst, abs(x - y) / scale) }
    case (nil, nil): break
    default: return .infinity
    }
    return worst.isNaN ? .infinity : worst
  }
}
