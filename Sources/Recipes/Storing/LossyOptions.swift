public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierNetworks

extension Problem.Code {
  /// What a model's folder may not have, or has no longer.
  static let packingInput = Problem.Code("pack.input")
  /// A size that a model cannot be packed to.
  public static let packingGoal = Problem.Code("pack.goal")
}

/// How large a model is to be that is packed with loss.
public enum LossyGoal: Sendable, Hashable {
  /// Bytes of the files of weights over those of the packed files; above 1.
  case ratio(Double)
  /// Bytes of the packed files.
  case bytes(Int)

  func bytes(of original: Int) -> Double {
    switch self {
    case .ratio(let ratio): Double(original) / ratio
    case .bytes(let bytes): Double(bytes)
    }
  }

  var text: String {
    switch self {
    case .ratio(let ratio): "a ratio of \(Decimals.text(ratio, 2))"
    case .bytes(let bytes): ByteCount.text(bytes)
    }
  }
}

/// What packing with loss takes: a size, and perhaps what is known of the inputs of matrices.
public struct LossyOptions: Sendable {
  public var goal: LossyGoal
  /// Whether rounding errors are handed on to columns that have not been rounded yet.
  public var handsOn = true
  let statistics: StatisticsFile?
  /// Of stored tensors whose rows are all applied to the inputs of one site.
  private let sites: [ExactString: String]

  /// Errors are those of the weights.
  public init(goal: LossyGoal) {
    self.goal = goal
    (statistics, sites) = (nil, [:])
  }

  /// Errors are those of the outputs on calibration text.
  ///
  /// - Parameter statistics: a file of `espalier calibrate`, of this model.
  /// - Throws: what reading it throws, `statistics.mismatch`; what ``Network`` throws for a model of no known family.
  public init(
    goal: LossyGoal, statistics path: String, of checkpoint: any Checkpoint, run: RunOptions
  ) throws(Problem) {
    self.goal = goal
    let file = try StatisticsFile(at: path)
    try file.require(try ModelIdentity(of: checkpoint, workers: run.pool))
    let network = try Network(
      checkpoint, architectures: run.families, mode: run.mode, residency: .streamed, workers: run.pool)
    var found: [ExactString: Set<ExactString>] = [:]
    for index in try network.blocks().indices {
      for matrix in try network.matrices(ofBlock: index) {
        for tensor in matrix.parameter.recipe.storedTensors {
          var site = ExactString(matrix.site)
          // What is turned or put together on the way is rounded as it is stored.
          if matrix.isTransposed || matrix.parameter.recipe != .stored(tensor) || tensor.shape.last != matrix.inputs {
            site = ExactString("")
          }
          found[ExactString(tensor.name), default: []].insert(site)
        }
      }
    }
    statistics = file
    sites = found.compactMapValues { sites in
      sites.count == 1 ? sites.first.map { "\($0)" }.flatMap { $0.isEmpty ? nil : $0 } : nil
    }
  }

  func site(of tensor: String) -> String? { sites[ExactString(tensor)] }

  /// What the run is begun with, as its fingerprint has it.
  var identity: JSON {
    var json: JSON = [
      "hands_on": .bool(handsOn), "statistics": statistics.map { .string($0.path) } ?? .null,
      "tokens": statistics?.record.tokens.map { .string($0.description) } ?? .null,
    ]
    switch goal {
    case .ratio(let ratio): json["ratio"] = .number(ratio)
    case .bytes(let bytes): json["bytes"] = .number(bytes)
    }
    return json
  }
}
