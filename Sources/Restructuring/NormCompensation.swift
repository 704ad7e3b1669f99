internal import EspalierArchitectures
internal import EspalierBasics
internal import EspalierCheckpoints

/// What root mean square norms need where they see fewer entries than before.
///
/// Of d entries d' stay, and those that go were zero: the mean of squares is taken over d', so it grows by d/d', and what
/// leaves the norm shrinks by √(d'/d). A weight larger by √(d/d') and an epsilon larger by d/d' undo both exactly.
struct NormCompensation {
  /// The factor of a norm's weight, by the parameter's canonical name.
  private var factors: [String: Double] = [:]
  /// The factors of epsilons, by their config keys: where norms that share one want different ones, what most want.
  private var epsilons: [String: Double] = [:]

  init(
    of change: StructuralChange, family: Architecture, config: JSON, description: ModelDescription
  ) throws(Problem) {
    // A family without a program has no norms that are known; permutations change no sum.
    guard !change.choices.isEmpty, let program = try? family.program(config: config) else { return }
    var wanted: [String: [Double: Int]] = [:]
    for statement in program.sections.flatMap(\.statements) where statement.operation == "rmsNorm" {
      for name in statement.parameters["weight"] ?? statement.parameters.values.first ?? [] {
        guard let weight = description.parameter(named: name), let dimension = weight.dimensions.last else { continue }
        let size = try dimension.size()
        let kept = try dimension.indices(taking: change.choices).count
        // In groups each has a mean of its own, so that whole groups that leave change no mean.
        let (groups, left) = statement.groups(of: dimension, change.choices)
        let ratio = kept == 0 ? 1 : Double(size * left) / Double(kept * groups)
        // The keys of a tower within another config lie elsewhere: its epsilons stay as they are.
        if let key = statement.epsilonKey, config[key] != nil { wanted[key, default: [:]][ratio, default: 0] += 1 }
        if ratio != 1 { factors[name] = ratio.squareRoot() }
      }
    }
    for (key, ratios) in wanted {
      let most = ratios.max { $0.value == $1.value ? $0.key > $1.key : $0.value < $1.value }
      if let ratio = most?.key, ratio != 1 { epsilons[key] = ratio }
    }
  }

  func applied(to parameter: Parameter, described source: ParameterDescription) -> Parameter {
    guard let factor = factors[source.name] else { return parameter }
    var parameter = parameter
    // Where one is added to what is stored, factor · (1 + stored) - 1 is.
    let constant = source.recipe.value == .plusOne ? factor - 1 : 0
    parameter.recipe = .combined(
      [WeightedRecipe(weight: factor, recipe: parameter.recipe)], constant: constant, shape: parameter.shape)
    return parameter
  }

  func applied(to config: JSON) -> JSON {
    var config = config
    for (key, ratio) in epsilons {
      if let value = config[key]?.number { config[key] = .number(value * ratio) }
    }
    return config
  }
}

extension Statement {
  /// The groups in which a norm takes means, before a change and after: 1 and 1 where it takes one of all.
  fileprivate func groups(of dimension: Dimension, _ choices: [String: AxisChoice]) -> (before: Int, after: Int) {
    guard case .integer(let groups)? = settings["groups"], let outer = dimension.axes.first, outer.size == groups else {
      return (1, 1)
    }
    return (groups, choices[outer.instance]?.count ?? groups)
  }

  /// The config key that the epsilon of a norm is read from, if it is one by itself.
  fileprivate var epsilonKey: String? {
    let text = Array(source.utf8)
    let label = Array("epsilon: ".utf8)
    guard let start = text.indices.first(where: { text[$0...].starts(with: label) }) else { return nil }
    let rest = text[(start + label.count)...]
    let name = rest.prefix { $0 == UInt8(ascii: "_") || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains($0 | 0x20) }
    let next = rest.dropFirst(name.count).first
    guard !name.isEmpty, next == UInt8(ascii: ")") || next == UInt8(ascii: ",") else { return nil }
    return String(decoding: name, as: UTF8.self)
  }
}
