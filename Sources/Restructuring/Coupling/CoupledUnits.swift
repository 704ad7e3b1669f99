public import EspalierBasics
public import EspalierCheckpoints

/// What has to leave together: entries of parameters along dimensions.
public struct CoupledUnit: Sendable, Hashable {
  public struct Dimension: Sendable, Hashable {
    public let parameter: String
    public let dimension: Int
  }

  /// Entries by parameter and dimension, ascending.
  public let entries: [Dimension: [Int]]
  /// It enters or leaves the network, so that it stays.
  public let isFixed: Bool

  init(_ places: Set<CouplingTrace.Place>, isFixed: Bool) {
    var entries: [Dimension: [Int]] = [:]
    for place in places {
      entries[Dimension(parameter: place.parameter, dimension: place.dimension), default: []].append(place.entry)
    }
    self.entries = entries.mapValues { $0.sorted() }
    self.isFixed = isFixed
  }
}

/// Like units: as many entries of the same parameters along the same dimensions.
public struct CoupledGroup: Sendable {
  /// What every unit has entries of, with how many.
  public let dimensions: [(dimension: CoupledUnit.Dimension, entries: Int)]
  public let units: [CoupledUnit]
  public let isFixed: Bool

  /// Groups of a graph, in the order in which their first unit is met.
  ///
  /// - Throws: everything that does not fit between the graph and the model.
  public static func traced(_ graph: CouplingGraph, in checkpoint: any Checkpoint) throws(Problems) -> [CoupledGroup] {
    struct Kind: Hashable {
      let counts: [CoupledUnit.Dimension: Int]
      let isFixed: Bool
    }
    var order: [Kind] = []
    var units: [Kind: [CoupledUnit]] = [:]
    for unit in try CouplingTrace.units(of: graph, in: checkpoint) {
      let kind = Kind(counts: unit.entries.mapValues(\.count), isFixed: unit.isFixed)
      if units[kind] == nil { order.append(kind) }
      units[kind, default: []].append(unit)
    }
    return order.map { kind in
      let dimensions = kind.counts.sorted {
        ($0.key.parameter, $0.key.dimension) < ($1.key.parameter, $1.key.dimension)
      }
      return CoupledGroup(
        dimensions: dimensions.map { ($0.key, $0.value) }, units: units[kind] ?? [], isFixed: kind.isFixed)
    }
  }

  /// Numbers that leave with one unit of a model that has all others.
  public func numbersPerUnit(in checkpoint: any Checkpoint) -> Int {
    let byName = checkpoint.parametersByName()
    var left: [String: [(size: Int, leaving: Int)]] = [:]
    for (dimension, entries) in dimensions {
      guard let parameter = byName[ExactString(dimension.parameter)] else { continue }
      left[dimension.parameter, default: parameter.shape.map { ($0, 0) }][dimension.dimension].leaving = entries
    }
    return left.values.reduce(0) { sum, sizes in
      sum + sizes.reduce(1) { $0 * $1.size } - sizes.reduce(1) { $0 * ($1.size - $1.leaving) }
    }
  }

  public var json: JSON {
    [
      "units": .number(units.count), "stays": .bool(isFixed),
      "parameters": .array(
        dimensions.map {
          [
            "parameter": .string($0.dimension.parameter), "dimension": .number($0.dimension.dimension),
            "entries": .number($0.entries),
          ]
        }),
    ]
  }
}

extension Checkpoint {
  /// The parameters that units leave, each with the entries that stay; parameters that lose nothing are left out.
  ///
  /// - Throws: `checkpoint.format` if the units are of another model.
  public func selections(without leaving: [CoupledUnit]) throws(Problem) -> [ExactString: EntrySelection] {
    var gone: [ExactString: [Int: Set<Int>]] = [:]
    for unit in leaving {
      for (dimension, entries) in unit.entries {
        gone[ExactString(dimension.parameter), default: [:]][dimension.dimension, default: []].formUnion(entries)
      }
    }
    var selections: [ExactString: EntrySelection] = [:]
    for parameter in parameters {
      guard let dimensions = gone[ExactString(parameter.name)] else { continue }
      let entries = parameter.shape.enumerated().map { place, size in
        dimensions[place].map { gone in (0..<size).filter { !gone.contains($0) } }
      }
      selections[ExactString(parameter.name)] = try EntrySelection(of: parameter.shape, entries: entries)
    }
    return selections
  }
}
