public import EspalierBasics
internal import EspalierExecution

/// Drops small changes of a row with higher probability than large ones, then elects signs (Deep et al. 2024).
public struct Della: DeltaMethod {
  public static let card = MethodCard(
    name: "della", summary: "Drops changes at random, small ones more often, and merges those that agree in sign.",
    source: "deep2024della",
    parameters: DeltaCards.all(
      normalize: true, rescale: true,
      more: [DeltaCards.epsilon]),
    notes: DeltaCards.dellaNotes)
  static let sparsification = Sparsification.randomByRank
  static let elects = true
  let core: DeltaMerge
}
