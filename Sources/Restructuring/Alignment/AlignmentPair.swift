internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints

/// A parameter of two models of one family.
struct AlignmentPair: Sendable {
  let described: ParameterDescription
  let reference: Parameter
  let model: Parameter

  /// The parameters that tell how two models are to be matched.
  ///
  /// - Throws: everything in which the models do not fit each other, all at once.
  static func all(
    _ model: any Checkpoint, to reference: any Checkpoint, of family: Architecture
  ) throws(Problems) -> [AlignmentPair] {
    guard let config = model.config, let other = reference.config else {
      throw Problems([
        Problem(
          .restructuring, "models without a config cannot be aligned: their axes are not known",
          file: model.config == nil ? model.location : reference.location)
      ])
    }
    let (description, target): (ModelDescription, ModelDescription)
    do throws(Problem) {
      (description, target) = (try family.describe(config: config), try family.describe(config: other))
    } catch { throw Problems([error]) }
    let differences = differences(description, target)
    guard differences.isEmpty else {
      throw Problems(
        differences.map { text in
          Problem(
            .restructuring, "the models cannot be aligned: \(text)",
            remedy: "Align models of one family with the same sizes.", file: model.location)
        })
    }
    let (inModel, inReference) = (stored(model, description), stored(reference, target))
    var pairs: [AlignmentPair] = []
    var problems = Problems()
    for parameter in description.parameters {
      guard let first = inReference[parameter.name], let second = inModel[parameter.name] else { continue }
      guard first.shape == second.shape, second.shape == parameter.shape else {
        problems.add(
          Problem(
            .restructuring,
            "the models cannot be aligned: the shape is \(second.shape) in the one, \(first.shape) in the other, and "
              + "\(parameter.shape) by the config", tensor: parameter.name))
        continue
      }
      // What is measured or follows from the config says nothing of what a unit does; a tied copy would count twice.
      let part = parameter.role.part
      guard part != .buffer, part != .statistic, parameter.tiedTo == nil || inModel[parameter.tiedTo ?? ""] == nil
      else { continue }
      pairs.append(AlignmentPair(described: parameter, reference: first, model: second))
    }
    if pairs.isEmpty, problems.all.isEmpty {
      problems.add(
        Problem(
          .restructuring, "the models share no parameter that the family describes", file: model.location))
    }
    guard problems.all.isEmpty else { throw problems }
    return pairs
  }

  /// How two descriptions of one family differ, each difference told once.
  private static func differences(_ first: ModelDescription, _ second: ModelDescription) -> [String] {
    let towers = first.towers.compactMap { tower in
      let count = second.tower(named: tower.name)?.layerCount ?? 0
      return tower.layerCount == count
        ? nil : "`\(tower.name)` has \(tower.layerCount) layers in the one, \(count) in the other"
    }
    var axes: [String] = []
    var others = (first: 0, name: "")
    for parameter in first.parameters {
      guard let other = second.parameter(named: parameter.name) else {
        if !parameter.isOptional { others = (others.first + 1, others.first == 0 ? parameter.name : others.name) }
        continue
      }
      for (one, two) in zip(parameter.dimensions.flatMap(\.axes), other.dimensions.flatMap(\.axes))
      where one.name == two.name && one.size != two.size {
        let text = "`\(one.name)` has \(one.size) entries in the one, \(two.size) in the other"
        if !axes.contains(text) { axes.append(text) }
      }
      if axes.isEmpty, parameter.dimensions != other.dimensions {
        axes.append("\(parameter.name) is \(parameter.shape) in the one, \(other.shape) in the other")
      }
    }
    let missing =
      others.first == 0 || !towers.isEmpty
      ? [] : ["the one has \(others.first) parameters that the other lacks, \(others.name) the first"]
    return towers + axes + missing
  }

  private static func stored(
    _ checkpoint: any Checkpoint, _ description: ModelDescription
  ) -> [String: Parameter] {
    let byName = checkpoint.parametersByName()
    let fit = description.fit(names: checkpoint.parameters.map(\.name))
    return fit.described.reduce(into: [:]) { found, entry in
      if let parameter = byName[ExactString(entry.name)] { found[entry.parameter.name] = parameter }
    }
  }
}
