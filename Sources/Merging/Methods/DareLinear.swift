public import EspalierBasics
internal import EspalierExecution

/// Drops a random share of every change, rescales the rest, and adds up (Yu et al. 2024).
public struct DareLinear: DeltaMethod {
  public static let card = MethodCard(
    name: "dare_linear", summary: "Drops changes at random, rescales the rest, and adds them.", source: "yu2024dare",
    parameters: DeltaCards.all(
      normalize: false, rescale: true, more: [DeltaCards.q]),
    notes: DeltaCards.dareNotes)
  static let sparsification = Sparsification.random
  static let elects = false
  let core: DeltaMerge
}
