public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// An axis of a family in a model: what carries it, and what may be done along it.
public struct AxisReport: Sendable {
  public let name: String
  public let scope: Axis.Scope
  public let permutation: Axis.Permutation
  public let selection: Axis.Selection
  /// How many instances there are: one a layer, a tower, a model.
  public let instances: Int
  /// Sizes that occur, each once.
  public let sizes: [Int]
  /// The parameters that carry it, as the family writes them, each once.
  public let parameters: [String]
  /// Numbers that leave with one entry of one instance, where all instances agree; the least and the most else.
  public let numbersPerEntry: ClosedRange<Int>

  /// All axes that parameters of the model have, in the order of the family.
  public static func all(of checkpoint: any Checkpoint, described description: ModelDescription) -> [AxisReport] {
    let fit = description.fit(names: checkpoint.parameters.map(\.name))
    var order: [String] = []
    var axes: [String: [String: Axis]] = [:]
    var carriers: [String: [String]] = [:]
    var numbers: [String: [String: Int]] = [:]
    let inOrder = fit.described.map(\.parameter).filter { $0.role.part != .buffer }
    for parameter in inOrder {
      for dimension in parameter.dimensions {
        for axis in Set(dimension.axes) {
          if axes[axis.name] == nil { order.append(axis.name) }
          axes[axis.name, default: [:]][axis.instance] = axis
          if carriers[axis.name]?.contains(parameter.familyName) != true {
            carriers[axis.name, default: []].append(parameter.familyName)
          }
          let count = parameter.shape.reduce(1, *) / max(1, axis.size)
          if ParameterCount.isCounted(parameter) {
            numbers[axis.name, default: [:]][axis.instance, default: 0] += count
          }
        }
      }
    }
    return order.compactMap { name in
      guard let instances = axes[name], let axis = instances.values.first else { return nil }
      let each = instances.keys.map { numbers[name]?[$0] ?? 0 }
      return AxisReport(
        name: name, scope: axis.scope, permutation: axis.permutation, selection: axis.selection,
        instances: instances.count, sizes: Set(instances.values.map(\.size)).sorted(),
        parameters: carriers[name] ?? [], numbersPerEntry: (each.min() ?? 0)...(each.max() ?? 0))
    }
  }

  public var json: JSON {
    [
      "axis": .string(name), "scope": .string(scope.rawValue), "permute": .string(permutation.rawValue),
      "select": .string(selection.rawValue), "instances": .number(instances),
      "sizes": .array(sizes.map { .number($0) }), "parameters": .array(parameters.map { .string($0) }),
      "numbers_per_entry": .array([.number(numbersPerEntry.lowerBound), .number(numbersPerEntry.upperBound)]),
    ]
  }
}
