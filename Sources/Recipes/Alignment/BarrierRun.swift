public import EspalierBasics
public import EspalierCheckpoints
public import EspalierEvaluation
internal import EspalierNetworks
public import EspalierNumerics
internal import EspalierRestructuring

/// Measures the loss along the straight line between two models.
public struct BarrierRun: Sendable {
  /// How texts are cut.
  public var cut: TextProtocol
  /// Points of the path, its ends among them.
  public var points: Int
  public var run: RunOptions
  public var bootstrap = Bootstrap()
  public var listener: any ProgressListener
  private let texts: [TextSet]
  private let ends: [(name: String, checkpoint: any Checkpoint)]

  /// - Parameters:
  ///   - points: at least 3.
  /// - Throws: everything in which the models do not fit each other, all at once; what opening them throws.
  public init(
    from first: any Checkpoint, named firstName: String, to second: any Checkpoint, named secondName: String,
    on data: EvaluationData, cut: TextProtocol, points: Int, run: RunOptions, listener: any ProgressListener
  ) throws(Problems) {
    var problems = Problems()
    do throws(Problems) { _ = try SharedFamily.of(first, second, among: run.families) } catch {
      problems.all += error.all
    }
    problems.collect { () throws(Problem) in _ = try InterpolatedCheckpoint.between(first, second, at: 0.5) }
    for checkpoint in [first, second] {
      problems.collect { () throws(Problem) in _ = try run.network(of: checkpoint) }
    }
    for text in data.texts {
      problems.collect { () throws(Problem) in
        try SharedTokens.check(first, second, on: text.documents.map(\.text))
      }
    }
    for difference in problems.all.isEmpty ? SharedFamily.differences(first, second, run) : [] {
      problems.add(
        Problem(
          .restructuring, "there is no line between the models, which compute differently: \(difference)",
          remedy: "What lies between has one config: make the two the same.", file: second.location))
    }
    guard problems.all.isEmpty else { throw problems }
    (ends, texts) = ([(firstName, first), (secondName, second)], data.texts)
    (self.cut, self.points, self.run, self.listener) = (cut, points, run, listener)
  }

  /// The path on every text. The ends are the models as they are stored, what lies between exists in memory only.
  public func execute() throws(Problem) -> [LinearPath] {
    let weights = (0..<points).map { Double($0) / Double(points - 1) }
    var losses = [[Perplexity]](repeating: [], count: texts.count)
    for weight in weights {
      let checkpoint = try InterpolatedCheckpoint.between(ends[0].checkpoint, ends[1].checkpoint, at: weight)
      let name = weight == 0 ? ends[0].name : weight == 1 ? ends[1].name : "\(Decimals.text(weight, 3)) between"
      listener.receive(.note("\(Decimals.text(weight, 3)) of the way"))
      guard case .continuing(let model) = try SpeakingModel(checkpoint, options: run) else {
        throw Problem(
          .networkInput, "a model with an encoder and a decoder does not continue texts", file: checkpoint.location)
      }
      let evaluated = try model.evaluated(name: name)
      let evaluation = ModelEvaluation(
        data: EvaluationData(sets: texts), cut: cut, run: run, listener: SilentListener())
      var options = evaluation.options(for: [model])
      options.bootstrap = bootstrap
      for (place, text) in texts.enumerated() {
        losses[place].append(try Perplexity.measure(evaluated, on: text, cut: cut, options: options))
      }
    }
    return try losses.map { (losses) throws(Problem) in try LinearPath(weights: weights, losses: losses) }
  }
}
