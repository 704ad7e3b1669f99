internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCalibration
internal import EspalierCheckpoints
internal import EspalierEvaluation
internal import EspalierExecution
internal import EspalierNetworks
internal import EspalierNumerics
internal import EspalierRestructuring

/// The model of a plan, as a method sees it.
final class PlannedSubject: StructuralSubject {
  private let plan: RestructuringPlan
  private let pieces: ReductionPieces
  private let listener: any ProgressListener
  private var probe: DivergenceProbe?
  private var file: StatisticsFile?
  /// Parameters that have new values, by the number of their piece.
  private(set) var stored = 0

  var checkpoint: any Checkpoint { plan.checkpoint }
  var family: Architecture { plan.family }
  var description: ModelDescription { plan.description }
  var network: Network { plan.network }
  var workers: WorkerPool { plan.run.pool }

  init(_ plan: RestructuringPlan, pieces: ReductionPieces, listener: any ProgressListener) {
    (self.plan, self.pieces, self.listener) = (plan, pieces, listener)
  }

  var sequences: [[Int32]] {
    if case .text(let text) = plan.request.source { text.windows.sequences } else { [] }
  }

  func statistics(ofSite site: String) throws(Problem) -> SiteStatistics {
    let file: StatisticsFile
    if let known = self.file { file = known } else { file = try gathered() }
    self.file = file
    guard let found = try file.statistics(of: site) else {
      throw Problem(
        .restructuring, "the statistics know nothing of `\(site)`",
        remedy: "Gather them on this model by `espalier calibrate`, or give --text.", file: file.path)
    }
    return found
  }

  private func gathered() throws(Problem) -> StatisticsFile {
    switch plan.request.source {
    case .nothing:
      throw Problem(
        .restructuring, "the method has to know what enters the model's matrices",
        remedy: "Give --text, or --statistics of `espalier calibrate`.")
    case .statistics(let path):
      let file = try StatisticsFile(at: path)
      try file.require(try ModelIdentity(of: checkpoint, workers: workers))
      return file
    case .text(let text):
      let calibration = try Calibration(
        network, sequences: text.windows.sequences, memory: plan.run.memory,
        reading: try WeightFile.readingBytes(of: checkpoint.weightFiles, threads: workers.threadCount),
        momentLimit: Self.momentLimit, workers: workers)
      var record = text.record(mode: plan.run.mode, momentLimit: Self.momentLimit)
      record.model = try ModelIdentity(of: checkpoint, workers: workers)
      let path = pieces.path(of: "statistics.safetensors")
      if !FileSystem.isFile(path) {
        _ = try calibration.run(record, to: path, resume: true, force: false, listener: listener)
      }
      return try StatisticsFile(at: path)
    }
  }

  /// Repairs need second moments whole.
  static let momentLimit = 1 << 20

  func divergence(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double {
    try textProbe().divergence(of: candidate, named: name)
  }

  func perplexity(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double {
    try textProbe().perplexity(of: candidate, named: name)
  }

  func bias(of candidate: any Checkpoint, named name: String) throws(Problem) -> Double {
    guard let pairs = plan.request.pairs else {
      throw Problem(.restructuring, "a bias is measured on paired prompts", remedy: "Give --pairs.")
    }
    let bias = try PairBias.measure(
      try CausalLanguageModel(try plan.run.network(of: candidate)), on: pairs.pairs)
    guard bias.isFinite else {
      throw Problem(.restructuring, "with it changed the model's predictions are no numbers", tensor: name)
    }
    return bias
  }

  var reference: (any Checkpoint)? { plan.request.base?.checkpoint }

  /// What compares predictions on the text with those of the model as it is.
  func textProbe() throws(Problem) -> DivergenceProbe {
    if let probe { return probe }
    let made = try made()
    probe = made
    return made
  }

  private func made() throws(Problem) -> DivergenceProbe {
    guard case .text(let text) = plan.request.source else {
      throw Problem(.restructuring, "what a change does to predictions is measured on text", remedy: "Give --text.")
    }
    // Windows as long as those of calibration, as many of each text.
    let length = text.windows.sequences.first?.count ?? 512
    let cut = TextProtocol(
      .windows(length: length), limit: plan.request.effectLimit ?? text.windows.sequences.count)
    return try DivergenceProbe(
      from: checkpoint,
      ModelEvaluation(data: EvaluationData(sets: text.sets), cut: cut, run: plan.run, listener: SilentListener()))
  }

  func store(_ parameter: Parameter, values: [Float]) throws(Problem) -> Parameter {
    let kept = try pieces.keep(stored, parameter, values: values)
    stored += 1
    return kept
  }

  func progress(_ text: String) { listener.receive(.note(text)) }
}
