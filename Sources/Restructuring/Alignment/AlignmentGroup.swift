internal import EspalierArchitectures
internal import EspalierBasics

/// Axes whose entries are matched together: one that stands by itself, and those that are ordered anew within each of its
/// entries, such as the channels of every head.
struct AlignmentGroup {
  /// An axis within every entry of the root.
  struct Inner {
    let size: Int
    /// One axis for all entries (with a list an entry), or one axis an entry: experts that are stored apart.
    let instances: [String]

    func instance(within entry: Int) -> String { instances.count == 1 ? instances[0] : instances[entry] }
  }

  let root: Axis
  let inner: [Inner]
  /// Whether the entries of the root are experts that have parameters of their own.
  let hasExperts: Bool
  /// Place of each inner axis in ``inner``, by instance.
  let places: [String: Int]

  init(root: Axis, inner: [Inner] = [], hasExperts: Bool = false) {
    (self.root, self.inner, self.hasExperts) = (root, inner, hasExperts)
    places = inner.indices.reduce(into: [:]) { places, place in
      for instance in inner[place].instances { places[instance] = place }
    }
  }

  func holds(_ axis: Axis) -> Bool { axis.instance == root.instance || places[axis.instance] != nil }
  /// All instances of its axes.
  var instances: [String] { [root.instance] + inner.flatMap(\.instances) }
}

extension AlignmentGroup {
  /// The groups of a model: all axes that may be permuted but that of tokens, whose meaning is the tokenizer's.
  ///
  /// - Parameters:
  ///   - parameters: those that are matched.
  ///   - kept: names of axes that stay as they are.
  static func all(
    of parameters: [ParameterDescription], keeping kept: Set<String>
  ) throws(Problem) -> [AlignmentGroup] {
    var order: [Axis] = []
    var outers: [String: [Axis]] = [:]
    for parameter in parameters {
      for dimension in parameter.dimensions {
        for (axis, before) in dimension.axesInOrder where isFree(axis, kept) {
          if let known = outers[axis.instance] {
            // What stands before it wherever it stands.
            outers[axis.instance] = known.filter { outer in before.contains { $0.instance == outer.instance } }
          } else {
            order.append(axis)
            outers[axis.instance] = before
          }
        }
      }
    }
    let nested = order.reduce(into: [String: String]()) { nested, axis in
      guard axis.scope == .head else { return }
      nested[axis.instance] = outers[axis.instance]?.first { isFree($0, kept) && $0.scope != .head }?.instance
      // Where nothing that stands by itself can be matched, the first head-wise axis does.
      if nested[axis.instance] == nil {
        nested[axis.instance] = outers[axis.instance]?.first { isFree($0, kept) }?.instance
      }
    }
    let experts = expertAxes(of: parameters, among: order)
    let expertInner = Set(experts.values.flatMap { $0.flatMap(\.instances) })
    return order.compactMap { axis in
      guard nested[axis.instance] == nil, !expertInner.contains(axis.instance) else { return nil }
      var inner = order.filter { nested[$0.instance] == axis.instance }.map {
        Inner(size: $0.size, instances: [$0.instance])
      }
      inner += experts[axis.instance] ?? []
      return AlignmentGroup(root: axis, inner: inner, hasExperts: experts[axis.instance] != nil)
    }
  }

  private static func isFree(_ axis: Axis, _ kept: Set<String>) -> Bool {
    axis.permutation == .free && axis.size > 1 && !axis.isVocabulary && !kept.contains(axis.name)
  }

  /// Of every axis of experts that are stored apart: the axes within each, which may be none.
  private static func expertAxes(
    of parameters: [ParameterDescription], among order: [Axis]
  ) -> [String: [Inner]] {
    let free = Dictionary(order.map { ($0.instance, $0) }, uniquingKeysWith: { first, _ in first })
    var found: [String: [String: (size: Int, instances: [Int: String])]] = [:]
    var names: [String: [String]] = [:]
    for parameter in parameters {
      guard let expert = parameter.expert, free[parameter.expertsInstance] != nil else { continue }
      let root = parameter.expertsInstance
      if found[root] == nil { found[root] = [:] }
      for axis in parameter.dimensions.flatMap(\.axes) where axis.scope == .expert && free[axis.instance] != nil {
        if found[root]?[axis.name] == nil {
          found[root]?[axis.name] = (axis.size, [:])
          names[root, default: []].append(axis.name)
        }
        found[root]?[axis.name]?.instances[expert] = axis.instance
      }
    }
    return found.reduce(into: [:]) { result, entry in
      let size = free[entry.key]?.size ?? 0
      result[entry.key] = (names[entry.key] ?? []).compactMap { name in
        guard let axis = entry.value[name] else { return nil }
        let instances = (0..<size).compactMap { axis.instances[$0] }
        return instances.count == size ? Inner(size: axis.size, instances: instances) : nil
      }
    }
  }
}

extension ParameterDescription {
  /// The axis of experts beside which a parameter of one expert stands.
  var expertsInstance: String { (layer.map { "\(tower)/\($0)" } ?? tower) + "/experts" }
}

extension Dimension {
  /// Every axis with those that stand before it in products, in order.
  fileprivate var axesInOrder: [(axis: Axis, before: [Axis])] {
    switch self {
    case .axis(let axis): return [(axis, [])]
    case .literal: return []
    case .concatenation(let segments): return segments.flatMap(\.dimension.axesInOrder)
    case .product(let factors):
      var before: [Axis] = []
      var result: [(axis: Axis, before: [Axis])] = []
      for factor in factors {
        result += factor.axesInOrder.map { ($0.axis, before + $0.before) }
        if case .axis(let axis) = factor { before.append(axis) }
      }
      return result
    }
  }

  /// For every place of the dimension the entry of each of some axes, -1 where the place has none.
  ///
  /// - Parameter instances: a number from 0 to `count` for every axis that is asked for.
  func coordinates(of instances: [String: Int], count: Int) -> [[Int]] {
    switch self {
    case .axis(let axis):
      let place = instances[axis.instance]
      return (0..<axis.size).map { entry in
        var coordinates = [Int](repeating: -1, count: count)
        if let place { coordinates[place] = entry }
        return coordinates
      }
    case .literal(let size): return [[Int]](repeating: [Int](repeating: -1, count: count), count: size)
    case .concatenation(let segments):
      return segments.flatMap { $0.dimension.coordinates(of: instances, count: count) }
    case .product(let factors):
      return factors.reduce([[Int](repeating: -1, count: count)]) { outer, factor in
        let inner = factor.coordinates(of: instances, count: count)
        return outer.flatMap { outer in inner.map { inner in zip(outer, inner).map { max($0, $1) } } }
      }
    }
  }
}
