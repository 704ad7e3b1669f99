internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCalibration
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNetworks
internal import EspalierRestructuring

/// A model as a method sees it before its weights are read.
struct PlannedModel: StructuralModel {
  let checkpoint: any Checkpoint
  let family: Architecture
  let description: ModelDescription
}

/// What a request lacks or has too much of, for the method with its parameters.
extension RestructuringPlan {
  static func missing(
    _ method: any StructuralMethod, _ request: RestructuringRequest, of checkpoint: any Checkpoint
  ) -> [Problem] {
    let type = type(of: method)
    var problems = Problems()
    switch (method.needs, request.source) {
    case (.nothing, _), (_, .text), (.statistics, .statistics): break
    case (.statistics, .nothing):
      problems.add(
        Problem(
          .restructuring, "\(request.method) has to know what enters the model's matrices",
          remedy: "Give --text, or --statistics of `espalier calibrate`."))
    case (.text, _):
      problems.add(Problem(.restructuring, "\(request.method) runs the model on text", remedy: "Give --text."))
    }
    if case .statistics(let path) = request.source {
      problems.collect { () throws(Problem) in _ = try StatisticsFile(at: path) }
    }
    if type.needsPairs, request.pairs == nil {
      problems.add(
        Problem(
          .restructuring, "\(request.method) compares what the model makes of paired prompts", remedy: "Give --pairs."))
    }
    if method.needsBase, request.base == nil {
      problems.add(
        Problem(
          .restructuring, "\(request.method) goes by what tuning changed, which the model before it tells",
          remedy: "Give --base."))
    }
    if method.needs == .text, case .text(let text) = request.source, let context = checkpoint.contextLength,
      let length = text.windows.sequences.map(\.count).max(), length > context
    {
      problems.add(
        Problem(
          .restructuring, "windows of \(length) tokens are longer than the model's context of \(context)",
          remedy: "Give a --length of at most \(context)."))
    }
    if !method.needsBase, request.base != nil {
      problems.add(
        Problem(
          .restructuring, "\(request.method) has no use for a base with these parameters", remedy: "Leave it out."))
    }
    problems.collect { () throws(Problem) in try checkRepair(type, request) }
    return problems.all
  }

  private static func checkRepair(
    _ method: any StructuralMethod.Type, _ request: RestructuringRequest
  ) throws(Problem) {
    guard let damp = request.repair else { return }
    guard damp >= 0, damp.isFinite else {
      throw Problem(.restructuring, "a damping of \(damp) is none: it must be 0 or more")
    }
    if method.repairs {
      throw Problem(
        .restructuring, "\(request.method) lets what stays make up for what left itself",
        remedy: "Leave --repair out.")
    }
    if case .nothing = request.source {
      throw Problem(
        .restructuring, "a repair has to know what enters the model's matrices",
        remedy: "Give --text, or --statistics of `espalier calibrate`.")
    }
  }

  /// - Throws: `memory.ceiling` if gathering statistics, the method or a repair holds more than may be resident.
  static func checkMemory(
    _ method: any StructuralMethod, _ request: RestructuringRequest, _ model: PlannedModel, _ network: Network,
    _ run: RunOptions
  ) throws(Problem) {
    var lengths: [Int] = []
    let reading = try WeightFile.readingBytes(of: model.checkpoint.weightFiles, threads: run.pool.threadCount)
    if case .text(let text) = request.source {
      lengths = text.windows.sequences.map(\.count)
      if method.gathersStatistics || request.repair != nil {
        _ = try CalibrationPlan(
          network, lengths: lengths, memory: run.memory, reading: reading, momentLimit: PlannedSubject.momentLimit)
      }
    }
    let repair = request.repair == nil ? 0 : LeastSquaresRepair.bytes(for: model)
    let bytes = JobRunner.baseBytes + reading + max(repair, try method.bytes(for: model, network, lengths: lengths))
    guard bytes <= run.memory else {
      throw Problem(
        .memoryCeiling,
        "\(request.method) takes \(ByteCount.text(bytes)), and the ceiling is \(ByteCount.text(run.memory))",
        remedy: "Raise --memory\(lengths.isEmpty ? "" : ", or take fewer or shorter windows of the text").")
    }
  }
}
