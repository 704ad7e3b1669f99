public import EspalierBasics
public import EspalierCheckpoints
public import EspalierEvaluation

extension ModelEvaluation {
  /// The losses of models on the straight line between two, on every text.
  ///
  /// - Parameter points: how many models are measured, both ends among them.
  /// - Throws: `network.input` for models that do not continue texts; `checkpoint.format` for two that have other
  ///   parameters; what measuring throws.
  public func path(
    from first: any Checkpoint, named name: String, to second: any Checkpoint, named secondName: String, points: Int
  ) throws(Problem) -> [LinearPath] {
    let count = max(2, points)
    let weights = (0..<count).map { Double($0) / Double(count - 1) }
    var losses = [[Perplexity]](repeating: [], count: data.texts.count)
    for (index, weight) in weights.enumerated() {
      let checkpoint: any Checkpoint
      let pointName: String
      switch index {
      case 0: (checkpoint, pointName) = (first, name)
      case count - 1: (checkpoint, pointName) = (second, secondName)
      default:
        checkpoint = try InterpolatedCheckpoint(first, second, weight: weight)
        pointName = "\(Decimals.text(weight, 3)) of the way"
      }
      listener.receive(.note("point \(index + 1) of \(count)"))
      guard case .continuing(let model) = try SpeakingModel(checkpoint, options: run) else {
        throw Problem(
          .networkInput, "a model with an encoder and a decoder does not continue texts", file: checkpoint.location)
      }
      let evaluated = try model.evaluated(name: pointName)
      let options = options(for: [model])
      for (place, text) in data.texts.enumerated() {
        losses[place].append(try Perplexity.measure(evaluated, on: text, cut: cut, options: options))
      }
    }
    var paths: [LinearPath] = []
    for found in losses { paths.append(try LinearPath(weights: weights, losses: found)) }
    return paths
  }
}
