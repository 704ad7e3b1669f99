internal import EspalierBasics

/// The registry: every merge method, one line each.
public enum MergeMethods {
  public static let all: [any MergeMethod.Type] = [
    Linear.self,
    Passthrough.self,
  ]

  public static func named(_ name: String) -> (any MergeMethod.Type)? { all.first { $0.card.name == name } }

  static func make(_ name: String, _ parameters: MergeParameters) throws(Problem) -> any MergeMethod {
    guard let method = named(name) else {
      throw Problem(.mergeInputs, "there is no merge method called \(name)")
    }
    return try method.init(parameters)
  }
}
