public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// Like units of one layer of which some may leave: channels of a feed-forward block, heads, experts.
///
/// A unit is an entry of the axis in every parameter that carries it.
public struct UnitGroup: Sendable, Hashable {
  /// One parameter of the group.
  public struct Member: Sendable, Hashable {
    public let parameter: ParameterDescription
    /// As the checkpoint stores it.
    public let stored: Parameter
    /// The dimension that carries the axis.
    public let dimension: Int
    /// Whether units enter there: a column of the canonical `[outputs, inputs]`, as of a down projection.
    public let isReader: Bool
  }

  public let axis: Axis
  public let tower: String
  public let layer: Int?
  public let members: [Member]

  public var count: Int { axis.size }
  /// Maps that units enter.
  public var readers: [Member] { members.filter(\.isReader) }

  /// Numbers that leave with one unit.
  public var parametersPerUnit: Int {
    members.reduce(0) { $0 + (ParameterCount.isCounted($1.parameter) ? $1.stored.elementCount / max(1, axis.size) : 0) }
  }

  /// The fewest units of which a share stays: one always does.
  func least(floor: Double) -> Int { max(1, Int((floor * Double(count)).rounded(.up))) }

  /// Where entries of the axis lie on the member's dimension.
  public func places(of units: [Int], in member: Member) throws(Problem) -> [Int] {
    try member.parameter.dimensions[member.dimension].indices(taking: [axis.instance: AxisChoice(units)])
  }
}

extension UnitGroup {
  /// The groups of every layer along axes of one name, in the order of layers.
  public static func groups(
    along name: String, of description: ModelDescription, in checkpoint: any Checkpoint
  ) -> [UnitGroup] {
    all(of: description, in: checkpoint).filter { $0.axis.name == name }
  }

  /// All groups of units that a model may lose: axes within layers that the family lets become smaller.
  ///
  /// - Parameter hasStream: with the channels of the stream between layers, one group for the model.
  public static func all(
    of description: ModelDescription, in checkpoint: any Checkpoint, hasStream: Bool = false
  ) -> [UnitGroup] {
    func isOurs(_ axis: Axis) -> Bool {
      axis.selection != .none && (axis.scope != .model || (hasStream && axis.name == "hidden"))
    }
    let fit = description.fit(names: checkpoint.parameters.map(\.name))
    let byName = checkpoint.parametersByName()
    var order: [String] = []
    var groups: [String: (axis: Axis, first: ParameterDescription, members: [Member])] = [:]
    for (name, parameter) in fit.described {
      guard let stored = byName[ExactString(name)] else { continue }
      for (dimension, expression) in parameter.dimensions.enumerated() {
        for axis in expression.axes where isOurs(axis) {
          let member = Member(
            parameter: parameter, stored: stored, dimension: dimension,
            isReader: isInput(dimension, of: parameter))
          if groups[axis.instance] == nil {
            order.append(axis.instance)
            groups[axis.instance] = (axis, parameter, [])
          }
          // An axis that occurs twice in one dimension (queries, keys) is one member.
          if groups[axis.instance]?.members.last != member { groups[axis.instance]?.members.append(member) }
        }
      }
    }
    return order.compactMap { instance in
      groups[instance].map {
        UnitGroup(axis: $0.axis, tower: $0.first.tower, layer: $0.first.layer, members: $0.members)
      }
    }
  }

  /// Whether rows enter a parameter along a dimension.
  static func isInput(_ dimension: Int, of parameter: ParameterDescription) -> Bool {
    let count = parameter.dimensions.count
    guard count >= 2, parameter.inputSite != nil else { return false }
    // Canonical maps are [outputs, inputs]; convolutions [outputs, inputs, height, width]; stacks of experts begin
    // with the expert.
    let input = parameter.recipe.isTransposed ? count - 2 : parameter.role.part == .convolution ? 1 : count - 1
    return dimension == input
  }
}
