public import EspalierBasics
internal import EspalierExecution

/// Adds weighted changes to the base: `out = b + lambda sum_i w_i (x_i - b)` (Ilharco et al. 2023).
public struct TaskArithmetic: DeltaMethod {
  public static let card = MethodCard(
    name: "task_arithmetic", summary: "Adds the weighted changes of fine-tunes to their base.",
    source: "ilharco2023task",
    parameters: DeltaCards.all(
      normalize: false, rescale: false,
      density: "Accepted for mergekit's recipes; has no effect here."))
  static let sparsification = Sparsification.none
  static let elects = false
  let core: DeltaMerge
}
