internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints
internal import EspalierExecution
internal import EspalierNetworks
internal import EspalierRestructuring

/// The family that two models are of.
enum SharedFamily {
  /// - Throws: `restructuring` if one of them is of no known family, or they are of two.
  static func of(
    _ first: any Checkpoint, _ second: any Checkpoint, among families: [Architecture]
  ) throws(Problems) -> Architecture {
    var problems = Problems()
    let found = [first, second].map { checkpoint in
      problems.collect { () throws(Problem) in
        guard let config = checkpoint.config, let family = Architecture.recognise(config: config, among: families)
        else {
          throw Problem(
            .restructuring, "no family is known for the model, so its axes are not known either",
            remedy: "Describe it in a file for --architecture.", file: checkpoint.location)
        }
        return family
      }
    }
    guard problems.all.isEmpty, let one = found[0], let other = found[1] else { throw problems }
    guard one.name == other.name else {
      throw Problems([
        Problem(
          .restructuring, "the models are of two families, \(one.name) and \(other.name)",
          remedy: "Only models of one family have the same axes.", file: first.location)
      ])
    }
    return one
  }

  /// In what two models compute differently by their configs. Nothing where one of them is of a family that does not run.
  static func differences(_ first: any Checkpoint, _ second: any Checkpoint, _ run: RunOptions) -> [String] {
    func network(_ checkpoint: any Checkpoint) -> Network? {
      try? Network(
        checkpoint, architectures: run.families, mode: run.mode, residency: .streamed, workers: run.pool)
    }
    guard let one = network(first), let other = network(second) else { return [] }
    return one.differences(from: other)
  }

  /// What is told of a model that is brought into another's order: the order holds, but their mean may be of no use.
  static func warnings(model: any Checkpoint, reference: any Checkpoint, _ run: RunOptions) -> [Problem] {
    var texts = differences(model, reference, run).map { "the models compute differently: \($0)" }
    if SharedTokens.vocabulariesDiffer(model, reference) {
      texts.append("the models' tokenizers differ: rows of their embeddings are matched by number, not by token")
    }
    return texts.map { text in
      Problem(
        .restructuring, text, remedy: "Do not average the two as they are.", file: model.location, severity: .warning)
    }
  }
}
