public import EspalierBasics
internal import EspalierExecution

/// As ``DareLinear``, with the sign consensus of ``Ties``.
public struct DareTies: DeltaMethod {
  public static let card = MethodCard(
    name: "dare_ties", summary: "Drops changes at random, rescales the rest, and merges those that agree in sign.",
    source: "yu2024dare",
    parameters: DeltaCards.all(
      normalize: false, rescale: true, more: [DeltaCards.q]),
    notes: DeltaCards.dareNotes)
  static let sparsification = Sparsification.random
  static let elects = true
  let core: DeltaMerge
}
