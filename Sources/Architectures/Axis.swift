/// A named direction along which parameters are coupled: hidden channels, heads, experts, vocabulary.
///
/// Two parameters that carry axes of the same ``instance`` are indexed by the same things along them: whatever selects
/// or permutes one must select or permute the other.
public struct Axis: Sendable, Hashable {
  /// How far the coupling reaches.
  public enum Scope: String, Sendable, Hashable, CaseIterable {
    /// The whole model, e.g. `vocabulary`, or `hidden` where all towers share one residual stream.
    case model
    /// One tower, e.g. the heads of T5, which share relative position biases over all layers.
    case tower
    /// One layer, e.g. `inner`.
    case layer
    /// One expert of one layer. In a tensor that stacks experts, every expert may be treated on its own.
    case expert
    /// One head of one layer. In a tensor that holds all heads, every head may be treated on its own.
    case head
  }

  /// Which reorderings leave the function of the network as it was, if every coupled parameter follows.
  public enum Permutation: String, Sendable, Hashable, CaseIterable {
    case none
    case free
    /// Rotary pairs: the entries i and i + n/2 move together, and only where the rotary frequencies move along.
    case pairs
  }

  /// What leaving entries out does.
  public enum Selection: String, Sendable, Hashable, CaseIterable {
    case none
    /// The network still runs, on less. Even entries that were silent are missed: by a softmax that runs over them, a norm
    /// over groups, a scale that follows from their number.
    case approximate
    /// Without entries that were silent the network computes what it did; of root mean square norms, once their weight and
    /// epsilon follow.
    case exact
  }

  /// The name in the family's description, such as `hidden`; in an included tower with its prefix, `text.hidden`.
  public let name: String
  /// Names the coupling: equal for two parameters exactly if they share this axis, e.g. `text/3/inner`.
  public let instance: String
  public let size: Int
  public let scope: Scope
  public let permutation: Permutation
  public let selection: Selection

  public init(
    name: String, instance: String, size: Int, scope: Scope, permutation: Permutation = .none,
    selection: Selection = .none
  ) {
    self.name = name
    self.instance = instance
    self.size = size
    self.scope = scope
    self.permutation = permutation
    self.selection = selection
  }
}
