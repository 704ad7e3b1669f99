import EspalierArchitectures
import EspalierBasics
import EspalierCalibration
import EspalierCheckpoints
import EspalierExecution
import EspalierLinearMaps
import EspalierNetworks
import EspalierNumerics
import EspalierReduction
import TestSupport

@testable import EspalierRecipes

/// A small model of the networks' tests that is pruned or factorized.
struct ReducedModel {
  let path: String

  init(path: String) { self.path = path }
  init(name: String) { path = "\(packageFolder)/Tests/NetworksTests/Fixtures/\(name)" }

  /// Tokens that every small model knows.
  static func text(_ count: Int = 9, length: Int = 14) -> CalibrationText {
    var generator = SeededGenerator(seed: 3)
    let sequences = (0..<count).map { _ in (0..<length).map { _ in Int32(generator.next() % 40) } }
    return CalibrationText(tokens: sequences, cut: "tokens of a test")
  }

  func checkpoint() throws -> any Checkpoint { try SafetensorsCheckpoint(at: path) }

  func request(_ method: String, _ budget: MatrixBudget, isSequential: Bool = true) -> ReductionRequest {
    ReductionRequest(
      method: method, goal: .budget(budget), source: .text(Self.text(), isSequential: isSequential))
  }

  func plan(
    _ request: ReductionRequest, to output: String, threads: Int = 2, memory: Int = 1 << 30, resume: Bool = false
  ) throws -> (ReductionPlan, WorkerPool) {
    let pool = WorkerPool(threads: threads)
    let run = RunOptions(mode: .exact, pool: pool, memory: memory, families: try Architecture.families(with: []))
    var writing = MergeOptions(output: output)
    writing.threads = threads
    writing.memory = memory
    writing.policy.resume = resume
    return (
      try ReductionPlan(request, of: path, checkpoint: try checkpoint(), run: run, writing: writing), pool
    )
  }

  @discardableResult
  func reduce(
    _ request: ReductionRequest, to output: String, threads: Int = 2, memory: Int = 1 << 30, resume: Bool = false,
    measure: ((any Checkpoint) throws(Problem) -> ReductionReport.Evaluation?)? = nil
  ) throws -> ReductionReport {
    let (plan, pool) = try plan(request, to: output, threads: threads, memory: memory, resume: resume)
    return try ReductionRun.execute(plan, workers: pool, listener: SilentListener(), measure: measure)
  }
}

/// The matrices of a network with a site, by name.
func matrices(of path: String) throws -> [(matrix: NetworkMatrix, weight: Matrix<Float>)] {
  let network = try Network(try SafetensorsCheckpoint(at: path), residency: .streamed, workers: WorkerPool(threads: 2))
  var found: [(NetworkMatrix, Matrix<Float>)] = []
  for index in try network.blocks().indices {
    for matrix in try network.matrices(ofBlock: index) { found.append((matrix, try network.weight(of: matrix))) }
  }
  return found
}

/// The rows that reach each site of a network.
func rows(of path: String, _ text: CalibrationText) throws -> [String: [[Float]]] {
  let network = try Network(try SafetensorsCheckpoint(at: path), residency: .streamed, workers: WorkerPool(threads: 2))
  let run = try BlockRun(network, sequences: text.windows.sequences)
  var rows: [String: [[Float]]] = [:]
  for _ in try network.blocks() {
    _ = try run.runBlock { (site, x) throws(Problem) in
      for row in 0..<x.rows {
        rows[site, default: []].append((0..<x.columns).map { x.elements![row * x.stride + $0] })
      }
    }
  }
  return rows
}

/// ‖(W - W') X‖ / ‖W X‖, by its definition.
func outputError(_ weight: Matrix<Float>, _ changed: Matrix<Float>, _ rows: [[Float]]) -> Double {
  var (error, whole) = (0.0, 0.0)
  for row in rows {
    for output in 0..<weight.rows {
      var (d, w) = (0.0, 0.0)
      for input in 0..<weight.columns {
        d += (Double(weight[output, input]) - Double(changed[output, input])) * Double(row[input])
        w += Double(weight[output, input]) * Double(row[input])
      }
      error += d * d
      whole += w * w
    }
  }
  return (error / whole).squareRoot()
}
