/// An error with what is known of it. No figure is printed without its kind.
public struct Certificate: Sendable, Hashable, Codable {
  public enum Kind: String, Sendable, Hashable, Codable {
    /// Computed from the result itself, nothing left out.
    case exact
    /// Never exceeded.
    case bound
    /// Expected, from a model of how the error comes about.
    case estimate
    /// Seen on data, which stand for other data.
    case measured
  }

  public var error: Double
  /// What was measured and over what, in words.
  public var norm: String
  public var kind: Kind
  /// The least that any result of the same size and form could have, where that is known.
  public var floor: Double?
  /// What the figure takes for granted.
  public var assumptions: [String]

  public init(error: Double, norm: String, kind: Kind, floor: Double? = nil, assumptions: [String] = []) {
    self.error = error
    self.norm = norm
    self.kind = kind
    self.floor = floor
    self.assumptions = assumptions
  }
}
