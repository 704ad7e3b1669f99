public import EspalierBasics
internal import EspalierExecution

/// As ``Della``, without the sign consensus.
public struct DellaLinear: DeltaMethod {
  public static let card = MethodCard(
    name: "della_linear", summary: "Drops changes at random, small ones more often, and adds the rest.",
    source: "deep2024della",
    parameters: DeltaCards.all(
      normalize: false, rescale: true,
      more: [
        ParameterCard(
          "epsilon", .number(0...1), scope: .nonBase, default: .number(0.15),
          "Half the spread of the keep probabilities around the density.")
      ]),
    notes:
      "Rows are those of the tensor with its first dimension as rows; a vector is one row. rescale: true is one factor a tensor, as in mergekit, which is biased toward large changes; inverse_density divides each element by its own probability, as published. A row of one element is kept with the density."
  )
  static let sparsification = Sparsification.randomByRank
  static let elects = false
  let core: DeltaMerge
}
