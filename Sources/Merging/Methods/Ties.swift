public import EspalierBasics
internal import EspalierExecution

/// Trims small changes, elects one sign an element, and adds the changes that agree with it (Yadav et al. 2023).
public struct Ties: DeltaMethod {
  public static let card = MethodCard(
    name: "ties", summary: "Trims small changes, elects signs, and merges the changes that agree.",
    source: "yadav2023ties",
    parameters: DeltaCards.all(
      normalize: true, rescale: false),
    notes:
      "The paper elects by the unweighted sum; as in mergekit, weights come first. Of equal magnitudes at the threshold the first by index are kept."
  )
  static let sparsification = Sparsification.magnitude
  static let elects = true
  let core: DeltaMerge
}
