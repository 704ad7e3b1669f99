internal import EspalierBasics

/// The registry: every merge method, one line each.
public enum MergeMethods {
  public static let all: [any MergeMethod.Type] = [
    Linear.self,
    Slerp.self,
    NuSlerp.self,
    MultiSlerp.self,
    Karcher.self,
    Passthrough.self,
    TaskArithmetic.self,
    Ties.self,
    DareLinear.self,
    DareTies.self,
    Breadcrumbs.self,
    BreadcrumbsTies.self,
    Della.self,
    DellaLinear.self,
    ModelStock.self,
    Sce.self,
    NearSwap.self,
    ArceeFusion.self,
    Ram.self,
    RamPlus.self,
    Pcb.self,
    Opcm.self,
  ]

  public static func named(_ name: String) -> (any MergeMethod.Type)? { all.first { $0.card.name == name } }

  static func make(_ name: String, _ parameters: MergeParameters) throws(Problem) -> any MergeMethod {
    guard let method = named(name) else {
      throw Problem(.mergeInputs, "there is no merge method called \(name)")
    }
    return try method.init(parameters)
  }
}
