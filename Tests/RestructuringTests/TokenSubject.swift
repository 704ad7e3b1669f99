import EspalierArchitectures
import EspalierBasics
import EspalierCheckpoints
import EspalierNetworks
import EspalierNumerics
import EspalierRestructuring
import NetworkTestSupport
import TestSupport
import Testing

/// A small model that methods change, with tokens in place of text; what it is asked for it computes plainly.
final class TokenSubject: StructuralSubject {
  let checkpoint: any Checkpoint
  let family: Architecture
  let description: ModelDescription
  let network: Network
  let sequences: [[Int32]]
  let reference: (any Checkpoint)?
  private(set) var measured = 0
  private var logits: [Float] = []
  private var inputs: [String: SiteStatistics] = [:]

  var workers: WorkerPool { Golden.workers }

  init(
    _ checkpoint: any Checkpoint, of family: Architecture, sequences: [[Int32]]? = nil,
    reference: (any Checkpoint)? = nil
  ) throws {
    (self.checkpoint, self.family, self.reference) = (checkpoint, family, reference)
    description = try family.describe(config: try #require(checkpoint.config))
    network = try Network(checkpoint, workers: Golden.workers)
    self.sequences = sequences ?? (0..<3).map(Self.tokens)
  }

  private static func tokens(_ row: Int) -> [Int32] {
    (0..<16).map { place -> Int32 in
      let mixed: Int = row * 37 + place * place * 11 + place * 5
      return Int32(3 + mixed % 100)
    }
  }

  /// Sums over all rows, each as often as maps read it.
  func statistics(ofSite site: String) throws(Problem) -> SiteStatistics {
    if inputs.isEmpty {
      let run = try BlockRun(network, sequences: sequences)
      for _ in try network.blocks() {
        _ = try run.runBlock { [self] (site, rows) throws(Problem) in
          var known = inputs[site] ?? SiteStatistics(width: rows.columns)
          try known.add(rows)
          inputs[site] = known
        }
      }
    }
    return inputs[site] ?? SiteStatistics(width: 0)
  }

  func divergence(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double {
    measured += 1
    if logits.isEmpty { logits = try Self.logits(network, sequences) }
    let (p, q) = (probabilities(logits), probabilities(try Self.logits(try Self.run(candidate), sequences)))
    var sum = 0.0
    for (a, b) in zip(p, q) { sum += a * (Elementary.log(a) - Elementary.log(b)) }
    return max(0, sum) / Double(rows)
  }

  func perplexity(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double {
    let q = probabilities(try Self.logits(try Self.run(candidate), sequences))
    let width = q.count / rows
    var (sum, count, row) = (0.0, 0, 0)
    for sequence in sequences {
      for place in sequence.indices {
        if place + 1 < sequence.count {
          sum -= Elementary.log(q[row * width + Int(sequence[place + 1])])
          count += 1
        }
        row += 1
      }
    }
    return Elementary.exp(sum / Double(count))
  }

  /// Where new values are written; without a folder parameters stay as they are.
  var folder: String?
  private var stored = 0

  func store(_ parameter: Parameter, values: [Float]) throws(Problem) -> Parameter {
    guard let folder else { return parameter }
    stored += 1
    let path = "\(folder)/stored-\(stored).safetensors"
    var result = parameter
    do {
      try TestTensor.write([TestTensor(parameter.name, parameter.shape, values)], to: path)
      for new in try SafetensorsCheckpoint(at: path).parameters { result.recipe = new.recipe }
    } catch { throw Problem(.restructuring, "\(error)") }
    return result
  }

  /// Of paired prompts, each run by itself.
  var pairs: [PromptPair] = []

  func bias(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double {
    let network = try Self.run(candidate)
    func next(_ prompt: [Int32]) throws(Problem) -> [Double] {
      let logits = try Self.logits(network, [prompt])
      let last = logits.suffix(logits.count / prompt.count).map(Double.init)
      let sum = last.reduce(0) { $0 + Elementary.exp($1) }
      return last.map { Elementary.exp($0) / sum }
    }
    var sum = 0.0
    for pair in pairs {
      let (p, q) = (try next(pair.first), try next(pair.second))
      for (a, b) in zip(p, q) {
        sum += 0.5 * (a * Elementary.log(a) + b * Elementary.log(b) - (a + b) * Elementary.log((a + b) / 2))
      }
    }
    return sum / Double(pairs.count)
  }

  func progress(_ text: String) {}

  private var rows: Int { sequences.reduce(0) { $0 + $1.count } }

  private static func run(_ candidate: any Checkpoint) throws(Problem) -> Network {
    try Network(candidate, workers: Golden.workers)
  }

  private static func logits(_ network: Network, _ sequences: [[Int32]]) throws(Problem) -> [Float] {
    try network.forward(NetworkInputs(tokens: sequences)).first { $0.name == "logits" }?.values ?? []
  }

  private func probabilities(_ logits: [Float]) -> [Double] {
    let width = logits.count / rows
    return stride(from: 0, to: logits.count, by: width).flatMap { start in
      let row = logits[start..<start + width].map(Double.init)
      let most = row.max() ?? 0
      let weights = row.map { Elementary.exp($0 - most) }
      let sum = weights.reduce(0, +)
      return weights.map { $0 / sum }
    }
  }
}

extension GoldenModel {
  /// The model with layers repeated: deep enough to lose some.
  func repeated(_ layers: [Int]) throws -> RestructuredCheckpoint {
    try changed(StructuralChange(layers: [description.towers[0].name: layers]))
  }
}

extension Checkpoint {
  /// The model with other recipes of the parameters that `change` gives one for.
  func replacing(_ change: (Parameter) -> StorageRecipe?) throws -> OverlaidCheckpoint {
    OverlaidCheckpoint(
      self,
      replacing: parameters.compactMap { parameter in
        guard let recipe = change(parameter) else { return nil }
        var parameter = parameter
        parameter.recipe = recipe
        return parameter
      })
  }

  /// The model with zeros for the parameters whose names contain one of these.
  func silencing(_ names: [String]) throws -> OverlaidCheckpoint {
    try replacing { parameter in
      names.contains { parameter.name.contains($0) } ? .combined([], constant: 0, shape: parameter.shape) : nil
    }
  }

  func values(_ name: String) throws -> [Float] {
    try #require(parameters.first { $0.name == name }).values(files: FilePool())
  }
}

/// Runs a method with settings of its own.
func restructured(
  _ subject: TokenSubject, by name: String, _ settings: [String: ParameterValue] = [:], to parameters: Int
) throws -> Restructured {
  let type = try StructuralMethods.method(named: name)
  return try type.init(try StructuralParameters(settings, for: type.card)).restructure(subject, to: parameters)
}

func parameterCount(_ checkpoint: any Checkpoint, of family: Architecture) throws -> Int {
  ParameterCount.of(checkpoint, described: try family.describe(config: try #require(checkpoint.config)))
}

extension SiteStatistics {
  /// With the whole second moment.
  fileprivate mutating func add(_ rows: MatrixView<Float>) throws(Problem) {
    guard let start = rows.elements else { return }
    var values = try Matrix<Double>(
      rows: rows.rows, columns: rows.columns,
      elements: [Double](
        repeating: 0, count: rows.rows * rows.columns))
    for row in 0..<rows.rows {
      for column in 0..<rows.columns {
        let value = Double(start[row * rows.stride + column])
        values[row, column] = value
        sums[column] += value
        squareSums[column] += value * value
        absoluteSums[column] += abs(value)
      }
    }
    var total = try MatrixProduct.product(values, values, transposingFirst: true)
    if case .full(let known)? = moment { for i in known.elements.indices { total.elements[i] += known.elements[i] } }
    moment = .full(total)
    count += rows.rows
  }
}
