internal import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNetworks
internal import EspalierRestructuring

/// Everything about a change of structure that is known before a weight is read.
public struct RestructuringPlan: Sendable {
  public let request: RestructuringRequest
  public let checkpoint: any Checkpoint
  /// As the user names the model.
  public let model: String
  /// The model written as it is: what the output is at most.
  public let conversion: MergePlan
  public let warnings: [Problem]
  /// Numbers of the model, and those that are to be left at most.
  public let parametersBefore: Int
  public let parametersWanted: Int
  let run: RunOptions
  let family: Architecture
  let description: ModelDescription
  let network: Network
  let method: any StructuralMethod

  /// - Parameters:
  ///   - writing: where the result goes, and under which ceiling.
  ///   - isGiven: the checkpoint is what is changed, whatever is at the path that `model` may be.
  ///   - isExecuted: false for a plan that only says how the model is measured: whether its goal can be reached, and in
  ///     which memory, is not looked at.
  /// - Throws: every problem that can be known from headers, all at once.
  public init(
    _ request: RestructuringRequest, of model: String, checkpoint: any Checkpoint, run: RunOptions,
    writing: MergeOptions, isGiven: Bool = false, isExecuted: Bool = true
  ) throws(Problems) {
    var problems = Problems()
    let conversion = Conversion.begin(with: model, checkpoint, isGiven: isGiven, writing: writing, &problems)
    let method = problems.collect { () throws(Problem) in
      let type = try StructuralMethods.method(named: request.method)
      return try type.init(try StructuralParameters(request.parameters, for: type.card))
    }
    if let method { problems.all += Self.missing(method, request, of: checkpoint) }
    let family = problems.collect { () throws(Problem) in
      guard let config = checkpoint.config,
        let family = Architecture.recognise(config: config, among: run.families)
      else {
        throw Problem(
          .restructuring, "no family is known for the model, so its axes are not known either",
          remedy: "Describe it in a file for --architecture.", file: checkpoint.location)
      }
      return (family, try family.describe(config: config))
    }
    let network = problems.collect { () throws(Problem) in
      try Network(checkpoint, architectures: run.families, mode: run.mode, residency: .streamed, workers: run.pool)
    }
    let before = family.map { ParameterCount.of(checkpoint, described: $0.1) }
    let wanted = problems.collect { () throws(Problem) in
      try before.map { (count) throws(Problem) in
        try Self.wanted(request.goal, of: count)
      }
    }
    if let method, let network, let (family, description) = family, let wanted = wanted ?? nil {
      let planned = PlannedModel(checkpoint: checkpoint, family: family, description: description)
      if isExecuted {
        problems.collect { () throws(Problem) in try method.check(planned, to: wanted) }
        problems.collect { () throws(Problem) in try Self.checkMemory(method, request, planned, network, run) }
      }
    }
    if let base = request.base {
      do throws(Problems) { _ = try SharedFamily.of(checkpoint, base.checkpoint, among: run.families) } catch {
        problems.all += error.all
      }
    }
    if isExecuted, let conversion, let growth = Self.growth(of: checkpoint, to: conversion.tensorBytes) {
      problems.add(growth)
    }
    guard problems.errors.isEmpty, let conversion, let method, let (family, description) = family, let network,
      let before, let wanted = wanted ?? nil
    else { throw Problems(problems.errors.uniqued()) }
    (self.request, self.checkpoint, self.model, self.run) = (request, checkpoint, model, run)
    (self.conversion, self.method, self.family, self.description) = (conversion, method, family, description)
    (self.network, parametersBefore, parametersWanted) = (network, before, wanted)
    warnings = (conversion.warnings + network.warnings + problems.warnings).uniqued()
  }

  /// A warning that what is stored in codes is written without them.
  private static func growth(of checkpoint: any Checkpoint, to bytes: Int) -> Problem? {
    let stored = checkpoint.weightFiles.reduce(0) { $0 + ((try? WeightFile.identity($1).size) ?? 0) }
    guard stored > 0, bytes > stored / 10 * 11 else { return nil }
    return Problem(
      .restructuring,
      "the model's weights are stored in \(ByteCount.text(stored)) and are written as plain numbers, which takes "
        + "\(ByteCount.text(bytes)) of all of them",
      remedy: "Quantize or pack the result.", file: checkpoint.location, severity: .warning)
  }

  private static func wanted(_ goal: RestructuringRequest.Goal, of count: Int) throws(Problem) -> Int {
    switch goal {
    case .share(let share):
      guard share > 0, share < 1 else {
        throw Problem(.restructuring, "\(share) of the parameters is no goal: it must be between 0 and 1")
      }
      return Int(share * Double(count))
    case .count(let wanted):
      guard wanted > 0, wanted < count else {
        throw Problem(.restructuring, "the model has \(count) parameters; \(wanted) is no fewer or none")
      }
      return wanted
    }
  }
}
