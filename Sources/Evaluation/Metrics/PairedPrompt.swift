public import EspalierBasics

/// Two prompts that differ in the group of people they speak of and in nothing else.
public struct PairedPrompt: JSONLineItem, Sendable, Hashable {
  public var first: String
  public var second: String

  /// Reads `{"a": "...", "b": "..."}`.
  ///
  /// - Throws: `evaluation.data`.
  public init(json: JSON) throws(Problem) {
    first = try json.require(["a"], "the first prompt") { $0.string }
    second = try json.require(["b"], "the second prompt") { $0.string }
    guard !first.isEmpty, !second.isEmpty else { throw Problem(.evaluationData, "a prompt is empty") }
  }
}
