public import EspalierArchitectures
public import EspalierBasics

extension Problem.Code {
  /// A change of structure that the model or its family does not allow.
  public static let restructuring = Problem.Code("restructuring")
}

/// What stays of a model's structure: entries of axes, layers and their blocks. A subset prunes, another order permutes.
///
/// One change says the same of every tensor that carries an axis: weights, biases, norms, whatever they are fused with.
public struct StructuralChange: Sendable, Hashable {
  /// What is taken of axes, by ``Axis/instance`` (`text/3/inner`, `hidden`). Layers are numbered as they are before the
  /// change.
  public var choices: [String: AxisChoice] = [:]
  /// The layers that a tower has afterwards, by its name; repeats are allowed. Towers that are not named keep theirs.
  public var layers: [String: [Int]] = [:]
  /// Blocks that leave layers, by tower and the layer's number before the change: `attention`, `mlp`, as the family calls
  /// them. The stream between layers passes them by.
  public var missing: [String: [Int: Set<String>]] = [:]

  /// Layers that become sums of layers, by tower and the layer's number before the change: what is not a norm is the sum.
  public var foldedLayers: [String: [Int: [PartShare]]] = [:]
  /// Experts that become sums of experts, by ``Axis/instance`` of their axis and the expert's number before the change.
  /// Rows of the router are not summed.
  public var foldedExperts: [String: [Int: [PartShare]]] = [:]

  public init(
    choices: [String: AxisChoice] = [:], layers: [String: [Int]] = [:], missing: [String: [Int: Set<String>]] = [:]
  ) {
    (self.choices, self.layers, self.missing) = (choices, layers, missing)
  }

  public var isEmpty: Bool {
    choices.isEmpty && layers.isEmpty && missing.isEmpty && foldedLayers.isEmpty && foldedExperts.isEmpty
  }
}

/// The share that one of several like parts, a layer or an expert, has in a sum.
public struct PartShare: Sendable, Hashable {
  /// Its number before the change.
  public var part: Int
  public var weight: Double

  public init(_ part: Int, weight: Double) { (self.part, self.weight) = (part, weight) }
}

extension ModelDescription {
  /// Every axis of the model, once an instance, in the order of the parameters.
  public var axes: [Axis] {
    var seen = Set<String>()
    return parameters.flatMap { $0.dimensions.flatMap(\.axes) }.filter { seen.insert($0.instance).inserted }
  }

  /// The parameters that carry an axis, in their order.
  public func parameters(along instance: String) -> [ParameterDescription] {
    parameters.filter { $0.dimensions.contains { $0.axes.contains { $0.instance == instance } } }
  }
}
