public import EspalierBasics
internal import EspalierExecution

/// As ``Della``, without the sign consensus.
public struct DellaLinear: DeltaMethod {
  public static let card = MethodCard(
    name: "della_linear", summary: "Drops changes at random, small ones more often, and adds the rest.",
    source: "deep2024della",
    parameters: DeltaCards.all(
      normalize: false, rescale: true,
      more: [DeltaCards.epsilon]),
    notes: DeltaCards.dellaNotes)
  static let sparsification = Sparsification.randomByRank
  static let elects = false
  let core: DeltaMerge
}
