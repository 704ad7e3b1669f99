public import EspalierArchitectures
public import EspalierBasics
public import EspalierCheckpoints

/// How a model is to be reordered so that it lies near another one, and what is known of the match.
///
/// Reordering changes no output of a model but the order of those that leave along an axis that was reordered.
public struct Alignment: Sendable {
  /// What was matched along one axis.
  public struct AxisMatch: Sendable {
    /// The axis of the model: `hidden`, `text/3/inner`.
    public let axis: String
    public let entries: Int
    /// Of the entries those that have moved.
    public let moved: Double
    /// Of the entries those that agree with their partner more than with any other entry, and the partner with them.
    public let mutual: Double
    /// Whether activations told, or weights.
    public let isByActivations: Bool
  }

  /// What makes the model the aligned one: ``RestructuredCheckpoint`` applies it.
  public var change: StructuralChange
  public var axes: [AxisMatch]
  /// Of all parameters that were matched, before and after.
  public var before: AlignmentProducts
  public var after: AlignmentProducts
  /// Times that all axes were gone through.
  public var sweeps: Int
  /// The same order, group by group.
  let orders: [GroupOrder]

  /// The model in its new order.
  ///
  /// - Throws: as ``RestructuredCheckpoint/init(_:of:change:)``.
  public func applied(
    to model: any Checkpoint, of family: Architecture
  ) throws(Problem) -> RestructuredCheckpoint {
    do throws(Problems) { return try RestructuredCheckpoint(model, of: family, change: change) } catch {
      throw error.all.first ?? Problem(.restructuring, "the model cannot be reordered")
    }
  }
}

/// What aligning takes beside the models.
public struct AlignmentOptions: Sendable {
  /// Names of axes that stay as they are (`hidden`).
  public var keeping: Set<String> = []
  /// Times that all axes are gone through at the most.
  public var sweeps = 50
  /// Starts from the order as it is, the axes in an order of chance, besides the start that follows what is known; the
  /// best result counts.
  public var restarts = 0
  public var seed: UInt64 = 0
  public var weighing = Weighing.balanced

  /// What each parameter counts in the sum that is maximized.
  public enum Weighing: String, Sendable, CaseIterable {
    /// Matrices by the cosine of the two, vectors not at all: neither large layers nor the scales of norms, which are all
    /// of one sign and hardly tell units apart, decide for all.
    case balanced
    /// Every parameter by its inner product, as Ainsworth et al. take it: the distance of all weights becomes least.
    case plain
  }

  public init() {}
}
